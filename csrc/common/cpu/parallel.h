#pragma once

// How the CPU kernels of every family are run: they start no threads themselves.

#include <cstddef>
#include <cstdint>

namespace scrn::cpu {

// Runs body(state, begin, end) over disjoint ranges that together cover [0, count), and returns
// after all of them; the ranges may run at the same time.
using ParallelFor = void (*)(void* context, int64_t count,
                             void (*body)(void* state, int64_t begin, int64_t end), void* state);
struct Threads {
  ParallelFor parallel_for;
  void* context;
};

template <typename Body>
void run(const Threads& threads, int64_t count, const Body& body) {
  if (count <= 0) return;
  threads.parallel_for(
      threads.context, count,
      [](void* state, int64_t begin, int64_t end) {
        (*static_cast<const Body*>(state))(begin, end);
      },
      const_cast<Body*>(&body));
}

// Hands out aligned pieces of the workspace; with no workspace it only adds up.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}
  void* take(size_t bytes) {
    const size_t begin = used_;
    used_ += (bytes + 63) / 64 * 64;
    return memory_ == nullptr ? nullptr : memory_ + begin;
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

// At least `bytes` bytes, aligned to 64, of memory that the calling thread keeps for its next
// task.
void* thread_scratch(size_t bytes);

}  // namespace scrn::cpu
