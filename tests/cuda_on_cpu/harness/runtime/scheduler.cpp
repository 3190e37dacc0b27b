#include "scheduler.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "sanitizers.h"

namespace cuda_on_cpu {

Scheduler scheduler;

namespace {

constexpr uint64_t kTokenSets = 64;
Tokens all_tokens[kTokenSets];
char launch_token;

}  // namespace

Tokens& tokens() { return all_tokens[scheduler.block_number % kTokenSets]; }

const uint3& thread_index() { return scheduler.thread[scheduler.running].index; }
const uint3& block_index() { return scheduler.block; }
const dim3& block_extent() { return scheduler.launch->block; }
const dim3& grid_extent() { return scheduler.launch->grid; }

Options& options() {
  static Options instance;
  return instance;
}

std::vector<LaunchRecord>& records() {
  static std::vector<LaunchRecord> instance;
  return instance;
}

void push_ready(int thread) {
  Scheduler& s = scheduler;
  s.ready[(s.ready_first + s.ready_count++) % kMaxThreads] = thread;
}

namespace {

int pop_ready() {
  Scheduler& s = scheduler;
  int& first = s.ready[s.ready_first % kMaxThreads];
  if (options().threads == Order::kRandom) {
    const int pick = static_cast<int>(s.random() % static_cast<uint64_t>(s.ready_count));
    std::swap(first, s.ready[(s.ready_first + pick) % kMaxThreads]);
  }
  const int thread = first;
  s.ready_first = (s.ready_first + 1) % kMaxThreads;
  --s.ready_count;
  return thread;
}

// All threads of the block that still run are at a barrier.
void release_barrier() {
  Scheduler& s = scheduler;
  int first = -1, count = 0;
  for (int t = 0; t < s.threads; ++t) {
    const Thread& thread = s.thread[t];
    if (thread.wait != Wait::kBlock) continue;
    if (first < 0) first = t;
    const Thread& other = s.thread[first];
    if (thread.site.line != other.site.line || thread.vote != other.vote) {
      abandon(describe(t) + ": diverging barriers: it waits at " + describe(thread.site) + "; " +
              describe(first) + " at " + describe(other.site));
    }
    count += thread.predicate ? 1 : 0;
  }
  const BlockVote vote = s.thread[first].vote;
  const int result = vote == BlockVote::kCount ? count
                     : vote == BlockVote::kAnd ? count == s.at_barrier
                                               : count != 0;
  s.at_barrier = 0;
  ++s.barrier_generation;
  ++s.record.barriers;
  const bool backwards = options().threads == Order::kReverse;
  for (int i = 0; i < s.threads; ++i) {
    const int t = backwards ? s.threads - 1 - i : i;
    if (s.thread[t].wait != Wait::kBlock) continue;
    s.thread[t].wait = Wait::kNothing;
    s.thread[t].vote_result = result;
    push_ready(t);
  }
}

void run_thread() {
  Scheduler& s = scheduler;
  s.launch->invoke(s.launch->arguments);
  order_before(&launch_token);
  s.thread[s.running].wait = Wait::kDone;
  yield(true);
}

void begin_block(uint3 block, int set) {
  Scheduler& s = scheduler;
  s.block = block;
  ++s.block_number;
  s.barrier_generation = 0;
  s.alive = s.threads;
  s.at_barrier = s.ready_count = s.ready_first = 0;
  begin_warps();
  begin_shared_memory(set, s.launch->dynamic_bytes);
  const dim3& extent = s.launch->block;
  for (int t = 0; t < s.threads; ++t) {
    Thread& thread = s.thread[t];
    const unsigned u = static_cast<unsigned>(t);
    thread.fiber = fiber(set, t);
    thread.index = {u % extent.x, u / extent.x % extent.y, u / (extent.x * extent.y)};
    thread.wait = Wait::kNothing;
    thread.started = false;
    char name[96] = "";
    if (kThreadSanitizer) {
      std::snprintf(name, sizeof(name), "block (%u,%u,%u) thread (%u,%u,%u)", block.x, block.y,
                    block.z, thread.index.x, thread.index.y, thread.index.z);
    }
    prepare(thread.fiber, &run_thread, name);
  }
  const bool backwards = options().threads == Order::kReverse;
  for (int i = 0; i < s.threads; ++i) push_ready(backwards ? s.threads - 1 - i : i);
}

void run_block(uint3 block, int set) {
  Scheduler& s = scheduler;
  begin_block(block, set);
  while (s.alive > 0) {
    if (s.ready_count == 0) {
      s.running = -1;
      abandon(explain_deadlock());
    }
    s.running = pop_ready();
    Thread& thread = s.thread[s.running];
    resume(thread.fiber, !thread.started);
    thread.started = true;
    rethrow_abandoned();
    if (s.expired) abandon(describe(s.running) + ": the launch takes too long");
    if (thread.wait == Wait::kDone) {
      --s.alive;
      leave_warp(s.running);
    }
    if (s.at_barrier > 0 && s.at_barrier == s.alive) release_barrier();
  }
  s.running = -1;
  check_shared_memory();
}

std::vector<uint64_t> block_order(uint64_t count) {
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (options().blocks == Order::kReverse) std::reverse(order.begin(), order.end());
  if (options().blocks == Order::kRandom)
    std::shuffle(order.begin(), order.end(), scheduler.random);
  return order;
}

}  // namespace

void wait_here() { yield(false); }

namespace {

void run_blocks(const Launch& launch) {
  Scheduler& s = scheduler;
  const dim3& grid = launch.grid;
  int set = 0;
  for (const uint64_t b : block_order(static_cast<uint64_t>(grid.x) * grid.y * grid.z)) {
    const uint3 block = {static_cast<unsigned>(b % grid.x),
                         static_cast<unsigned>(b / grid.x % grid.y),
                         static_cast<unsigned>(b / grid.x / grid.y)};
    run_block(block, set);
    s.record.static_shared_bytes = std::max(s.record.static_shared_bytes, static_shared_bytes());
    set = (set + 1) % kFiberSets;
  }
  check_buffers();
}

}  // namespace

void execute(const Launch& launch) {
  Scheduler& s = scheduler;
  if (s.launch != nullptr) throw KernelFault("a kernel was launched from within a kernel");
  s.launch = &launch;
  s.threads = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  s.random.seed(options().seed);
  s.record = {};
  s.record.expression = launch.expression;
  s.record.kernel = reinterpret_cast<uintptr_t>(launch.kernel);
  s.record.grid = launch.grid;
  s.record.block = launch.block;
  s.record.dynamic_shared_bytes = launch.dynamic_bytes;
  take_work();
  begin_watch(options().seconds);
  std::string fault;
  try {
    run_blocks(launch);
  } catch (const KernelFault& caught) {
    discard_fibers();
    fault = std::string(launch.expression) + " (launched at " + describe(launch.site) + "), " +
            caught.what();
  }
  end_watch();
  order_after(&launch_token);
  s.running = -1;
  s.launch = nullptr;
  s.record.work = take_work();
  if (!fault.empty()) throw KernelFault(fault);
  records().push_back(s.record);
}

int sync_block(BlockVote vote, bool predicate, Site site) {
  Scheduler& s = scheduler;
  Thread& self = s.thread[s.running];
  self.wait = Wait::kBlock;
  self.site = site;
  self.vote = vote;
  self.predicate = predicate;
  ++s.at_barrier;
  char* token = &tokens().barrier[s.barrier_generation % 2];
  order_before(token);
  wait_here();
  order_after(token);
  return self.vote_result;
}

void fence() {
  static char token;
  order_before(&token);
  order_after(&token);
}

void count_atomic() { ++scheduler.record.atomics; }

std::string describe(Site site) {
  if (site.file == nullptr) return "?";
  const std::string file = site.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line);
}

std::string describe(int thread) {
  const Scheduler& s = scheduler;
  char text[160];
  if (thread < 0) {
    std::snprintf(text, sizeof(text), "block (%u,%u,%u)", s.block.x, s.block.y, s.block.z);
  } else {
    const uint3& t = s.thread[thread].index;
    std::snprintf(text, sizeof(text), "block (%u,%u,%u), thread (%u,%u,%u)", s.block.x, s.block.y,
                  s.block.z, t.x, t.y, t.z);
  }
  return text;
}

}  // namespace cuda_on_cpu
