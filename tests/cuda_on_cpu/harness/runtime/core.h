#pragma once

// What the CUDA words of vocabulary.h stand on: the interface of the runtime that executes a
// kernel on the CPU. It is compiled without sanitizers; what includes this header is not.

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace cuda_on_cpu {

// A place in the kernel's source; taken at the call by the defaults.
struct Site {
  const char* file = nullptr;
  int line = 0;
  static Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// What a mistake of a kernel becomes: the message names kernel, block, thread and cause.
struct KernelFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Not inlined: a fiber's caller must not keep what they return across a switch.
const uint3& thread_index();
const uint3& block_index();
const dim3& block_extent();
const dim3& grid_extent();

enum class BlockVote { kNone, kCount, kAnd, kOr };
int sync_block(BlockVote vote, bool predicate, Site site);

enum class WarpOp {
  kSync,
  kShuffle,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor,
  kBallot,
  kAll,
  kAny,
  kMatchAny,
  kReduceAdd,
  kReduceMin,
  kReduceMax,
  kReduceAnd,
  kReduceOr,
  kReduceXor,
  kReduceMinSigned,
  kReduceMaxSigned
};
struct WarpCall {
  WarpOp op;
  uint32_t mask;
  uint64_t value;
  int32_t argument;  // source lane, distance or lane mask of a shuffle
  int32_t width;
  Site site;
};
uint64_t warp_collective(const WarpCall& call);
uint32_t active_mask();

// Memory of the block for the declaration that `key` stands for: the same for every thread.
void* shared_array(const void* key, size_t bytes, size_t alignment, const char* name);
void* dynamic_shared(size_t alignment, const char* name);

void fence();
void count_atomic();
[[noreturn]] void kernel_fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

struct Launch {
  const char* expression;  // as written at the launch
  const void* kernel;      // address of the __global__ function
  Site site;
  dim3 grid, block;
  size_t dynamic_bytes;
  void (*invoke)(const void* arguments);
  const void* arguments;
};
void execute(const Launch& launch);

enum class Order { kForward, kReverse, kRandom };
struct Options {
  Order threads = Order::kForward, blocks = Order::kForward;
  uint64_t seed = 0;
  double seconds = 60;       // of CPU time that a launch may take
  bool shared_zero = false;  // what shared memory holds before it is written: 0, or NaN and -1
};
Options& options();

// One executed launch, for the tests.
struct LaunchRecord {
  std::string expression;
  uintptr_t kernel;
  dim3 grid, block;
  size_t static_shared_bytes, dynamic_shared_bytes;
  int64_t barriers, collectives, atomics;
  int64_t work;  // basic blocks executed; 0 unless built to count them
};
std::vector<LaunchRecord>& records();

// Device memory: its end (or start) lies at an inaccessible page, what is left of the pages is
// filled with a pattern that is checked after every launch, and it starts as NaN.
enum class Placement { kEnd, kStart };
struct Buffer {
  std::string name;
  std::byte* data;
  size_t bytes;
  std::byte* mapping;
  size_t mapping_bytes;
  bool writable;
};
// `misalignment`: the data starts so many bytes behind a multiple of 16. `sparse`: zero, and
// taking memory only where it is touched.
Buffer* allocate(const std::string& name, size_t bytes, Placement placement, size_t misalignment,
                 bool sparse);
void release(Buffer* buffer);
void set_writable(Buffer* buffer, bool writable);

}  // namespace cuda_on_cpu
