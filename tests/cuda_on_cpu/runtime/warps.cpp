// Warp collectives: each lane leaves its call and waits; the last one completes it for all.

#include <bit>
#include <cstdio>

#include "sanitizers.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

const char* name(WarpOp op) {
  switch (op) {
    case WarpOp::kSync:
      return "__syncwarp";
    case WarpOp::kShuffle:
      return "__shfl_sync";
    case WarpOp::kShuffleUp:
      return "__shfl_up_sync";
    case WarpOp::kShuffleDown:
      return "__shfl_down_sync";
    case WarpOp::kShuffleXor:
      return "__shfl_xor_sync";
    case WarpOp::kBallot:
      return "__ballot_sync";
    case WarpOp::kAll:
      return "__all_sync";
    case WarpOp::kAny:
      return "__any_sync";
    case WarpOp::kMatchAny:
      return "__match_any_sync";
    default:
      return "__reduce_*_sync";
  }
}

std::string hexadecimal(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", mask);
  return text;
}

std::string describe_call(const WarpCall& call) {
  return std::string(name(call.op)) + "(" + hexadecimal(call.mask) + ") at " + describe(call.site);
}

bool same_call(const WarpCall& a, const WarpCall& b) {
  return a.op == b.op && a.mask == b.mask && a.site.line == b.site.line;
}

bool is_shuffle(WarpOp op) { return op >= WarpOp::kShuffle && op <= WarpOp::kShuffleXor; }

// The lane whose value a shuffle returns.
int source_lane(const WarpCall& call, int lane) {
  const int width = call.width, base = lane & ~(width - 1);
  switch (call.op) {
    case WarpOp::kShuffle:
      return base | (call.argument & (width - 1));
    case WarpOp::kShuffleUp:
      return lane - call.argument < base ? lane : lane - call.argument;
    case WarpOp::kShuffleDown:
      return lane + call.argument >= base + width ? lane : lane + call.argument;
    default:
      return (lane ^ call.argument) >= base + width ? lane : lane ^ call.argument;
  }
}

uint64_t reduce(WarpOp op, uint64_t left, uint64_t right) {
  const auto a = static_cast<uint32_t>(left), b = static_cast<uint32_t>(right);
  const auto signed_a = static_cast<int32_t>(a), signed_b = static_cast<int32_t>(b);
  switch (op) {
    case WarpOp::kReduceAdd:
      return a + b;
    case WarpOp::kReduceMin:
      return a < b ? a : b;
    case WarpOp::kReduceMax:
      return a > b ? a : b;
    case WarpOp::kReduceAnd:
      return a & b;
    case WarpOp::kReduceOr:
      return a | b;
    case WarpOp::kReduceXor:
      return a ^ b;
    case WarpOp::kReduceMinSigned:
      return signed_a < signed_b ? a : b;
    default:
      return signed_a > signed_b ? a : b;
  }
}

// All lanes of `mask` in the warp that starts at thread `base` have made the same call.
void complete(int base, uint32_t mask) {
  Scheduler& s = scheduler;
  uint32_t votes = 0;
  bool first = true;
  uint64_t reduced = 0;
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const WarpCall& call = s.thread[base + lane].call;
    if (call.value != 0) votes |= 1u << lane;
    reduced = first ? call.value : reduce(call.op, reduced, call.value);
    first = false;
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Thread& thread = s.thread[base + lane];
    const WarpCall& call = thread.call;
    if (is_shuffle(call.op)) {
      const int source = source_lane(call, lane);
      if (source < 0 || source >= kWarp || (mask >> source & 1) == 0) {
        s.running = base + lane;
        abandon(describe(base + lane) + ": " + describe_call(call) + " reads lane " +
                std::to_string(source) + ", which is not in the mask");
      }
      thread.result = s.thread[base + source].call.value;
    } else if (call.op == WarpOp::kBallot) {
      thread.result = votes;
    } else if (call.op == WarpOp::kAll) {
      thread.result = votes == mask;
    } else if (call.op == WarpOp::kAny) {
      thread.result = votes != 0;
    } else if (call.op == WarpOp::kMatchAny) {
      thread.result = 0;
      for (int other = 0; other < kWarp; ++other) {
        if ((mask >> other & 1) != 0 && s.thread[base + other].call.value == call.value) {
          thread.result |= 1u << other;
        }
      }
    } else {
      thread.result = reduced;
    }
  }
  const bool backwards = options().threads == Order::kReverse;
  for (int i = 0; i < kWarp; ++i) {
    const int lane = backwards ? kWarp - 1 - i : i;
    if ((mask >> lane & 1) == 0) continue;
    s.thread[base + lane].wait = Wait::kNothing;
    push_ready(base + lane);
  }
  s.waiting[base / kWarp] &= ~mask;
  ++s.record.collectives;
}

void arrive(int self) {
  Scheduler& s = scheduler;
  const int base = self / kWarp * kWarp, lane = self % kWarp;
  const WarpCall& call = s.thread[self].call;
  const auto fail = [&](const std::string& cause) {
    abandon(describe(self) + ": " + describe_call(call) + ": " + cause);
  };
  if ((call.mask >> lane & 1) == 0) fail("the mask lacks the caller, lane " + std::to_string(lane));
  if (is_shuffle(call.op) &&
      (call.width < 1 || call.width > kWarp || (call.width & (call.width - 1)) != 0)) {
    fail("width " + std::to_string(call.width) + " is not a power of two up to 32");
  }
  for (int other = 0; other < kWarp; ++other) {
    if ((call.mask >> other & 1) == 0) continue;
    if (base + other >= s.threads || s.thread[base + other].wait == Wait::kDone) {
      fail("the mask has lane " + std::to_string(other) +
           (base + other >= s.threads ? ", which the block does not have"
                                      : ", which has left the kernel"));
    }
    const Thread& thread = s.thread[base + other];
    const bool awaits_caller = (thread.call.mask >> lane & 1) != 0;
    if (thread.wait == Wait::kWarp && awaits_caller && !same_call(call, thread.call)) {
      fail("lane " + std::to_string(other) + " of the mask is at " + describe_call(thread.call));
    }
  }
}

}  // namespace

uint64_t warp_collective(const WarpCall& call) {
  Scheduler& s = scheduler;
  const int self = s.running, warp = self / kWarp, base = warp * kWarp;
  Thread& thread = s.thread[self];
  thread.call = call;
  arrive(self);
  thread.wait = Wait::kWarp;
  s.waiting[warp] |= 1u << self % kWarp;
  bool all = true;
  int generation = -1;
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((call.mask >> lane & 1) == 0 || base + lane == self) continue;
    const Thread& other = s.thread[base + lane];
    const bool here = (s.waiting[warp] >> lane & 1) != 0 && same_call(call, other.call);
    all = all && here;
    if (here) generation = other.warp_generation;
  }
  thread.warp_generation = generation >= 0 ? generation : s.warp_generation[warp]++ % 2;
  // Shuffles and votes order no memory; __syncwarp does.
  const bool orders = call.op == WarpOp::kSync;
  char* token = &tokens().warp[thread.warp_generation][warp];
  if (orders) order_before(token);
  if (all) complete(base, call.mask);
  wait_here();
  if (orders) order_after(token);
  return thread.result;
}

uint32_t active_mask() {
  // Any set of lanes with the caller among them may be active together; the smallest finds most.
  return 1u << scheduler.running % kWarp;
}

namespace {

// Of the lanes that a thread waits for, those that have left the kernel.
std::string absent(int t) {
  const Scheduler& s = scheduler;
  std::string text;
  for (int lane = 0; lane < kWarp; ++lane) {
    const bool awaited = (s.thread[t].call.mask >> lane & 1) != 0;
    if (!awaited || s.thread[t / kWarp * kWarp + lane].wait != Wait::kDone) continue;
    text += (text.empty() ? ", but the kernel was left by lane " : ", ") + std::to_string(lane);
  }
  return text;
}

}  // namespace

std::string explain_deadlock() {
  const Scheduler& s = scheduler;
  std::string text = describe(-1) + ": no thread can go on:";
  int listed = 0, more = 0;
  std::string last;
  for (int t = 0; t < s.threads; ++t) {
    const Thread& thread = s.thread[t];
    std::string cause;
    if (thread.wait == Wait::kBlock) cause = "waits at the barrier at " + describe(thread.site);
    if (thread.wait == Wait::kWarp) cause = "waits in " + describe_call(thread.call) + absent(t);
    if (cause.empty() || cause == last) continue;
    last = cause;
    if (listed == 6) {
      ++more;
      continue;
    }
    ++listed;
    const uint3& i = thread.index;
    text += "\n  from thread (" + std::to_string(i.x) + "," + std::to_string(i.y) + "," +
            std::to_string(i.z) + "): " + cause;
  }
  if (more > 0) text += "\n  and " + std::to_string(more) + " more";
  return text;
}

}  // namespace cuda_on_cpu
