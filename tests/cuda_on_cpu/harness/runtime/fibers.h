#pragma once

// One fiber for each CUDA thread of a block, on a stack of its own. The scheduler runs on the
// caller's stack ("main"); a fiber runs until it yields to main or finishes.

#include <cstddef>
#include <cstdint>

namespace cuda_on_cpu {

inline constexpr int kMaxThreads = 1024;
// Blocks that follow each other use different fibers: ThreadSanitizer then sees them as
// concurrent, which on a GPU they are.
inline constexpr int kFiberSets = 2;

struct Fiber;

Fiber* fiber(int set, int index);
// Makes `fiber` start `entry` at its next resume. `name` appears in ThreadSanitizer's reports.
void prepare(Fiber* fiber, void (*entry)(), const char* name);
// From main: runs `fiber` until it yields; `ordered`: it sees what main did before.
void resume(Fiber* fiber, bool ordered);
// From a fiber: back to main. `last`: this fiber will not be resumed as it is.
void yield(bool last);
bool on_fiber();
// The fiber whose stack has its guard page at `address`; null: no stack overflow.
bool is_stack_guard(const void* address);
// After a launch was given up amid its kernels' calls.
void discard_fibers();

}  // namespace cuda_on_cpu
