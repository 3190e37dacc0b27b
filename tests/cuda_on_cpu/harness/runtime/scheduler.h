#pragma once

// State of the launch being executed, shared by the parts of the runtime.

#include <random>

#include "core.h"
#include "fibers.h"

namespace cuda_on_cpu {

inline constexpr int kWarp = 32;

enum class Wait { kNothing, kBlock, kWarp, kDone };

struct Thread {
  Fiber* fiber;
  uint3 index;
  Wait wait;
  bool started;
  Site site;  // of the barrier
  BlockVote vote;
  bool predicate;
  int vote_result;
};

// Lanes of a warp that wait for each other in one call.
struct Meeting {
  WarpCall call;  // of the lane that came first
  uint32_t arrived;
  int generation;  // which of the warp's tokens orders it
};

struct Warp {
  uint32_t absent;  // lanes that the block does not have, and those that have left the kernel
  int generations;
  int count;
  Meeting meetings[kWarp];
  // By lane.
  int meeting[kWarp];
  uint64_t value[kWarp], result[kWarp];
  int32_t argument[kWarp], width[kWarp];
};

struct Scheduler {
  const Launch* launch = nullptr;
  LaunchRecord record;
  uint3 block{};
  int threads = 0;
  int alive = 0;
  int at_barrier = 0;
  int running = -1;
  Thread thread[kMaxThreads];
  Warp warp[kMaxThreads / kWarp];
  int ready[kMaxThreads];
  int ready_count = 0, ready_first = 0;
  std::mt19937_64 random;
  uint64_t block_number = 0;  // of all blocks ever run
  int barrier_generation = 0;
  bool expired = false;
};
extern Scheduler scheduler;

// Addresses that stand for orderings in ThreadSanitizer. A barrier has two in turn, since a
// thread may reach the next one while others have yet to leave this one, and neighbouring blocks
// share none.
struct Tokens {
  char barrier[2], warp[2][kMaxThreads / kWarp];
};
Tokens& tokens();

void push_ready(int thread);
// From a fiber: gives the thread up until something pushes it again.
void wait_here();
// "block (0,1,0), thread (5,0,0)"
std::string describe(int thread);
std::string describe(Site site);

// warps.cpp
void begin_warps();
void leave_warp(int thread);
std::string explain_deadlock();  // why no thread of the block can go on

// memory.cpp
void begin_shared_memory(int set, size_t dynamic_bytes);
void check_shared_memory();  // faults where a pattern around an array was overwritten
size_t static_shared_bytes();
void check_buffers();
Buffer* find_buffer(const void* begin, const void* end);
std::string describe_address(const void* address, bool write);

// faults.cpp
void begin_watch(double seconds);
void end_watch();
// Gives the launch up: from a fiber, or a signal that came in one, by switching to main, where
// rethrow_abandoned() throws the message; from main by throwing it.
[[noreturn]] void abandon(const std::string& message);
void rethrow_abandoned();
int64_t take_work();

}  // namespace cuda_on_cpu
