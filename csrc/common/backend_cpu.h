#pragma once

// What the CPU backends of all families are made of: torch's threads.

#include "cpu/parallel.h"
#include "torch.h"

namespace scrn {

inline void torch_parallel_for(void*, int64_t count, void (*body)(void*, int64_t, int64_t),
                               void* state) {
  torch::stable::parallel_for(0, count, /*grain_size=*/1,
                              [&](int64_t begin, int64_t end) { body(state, begin, end); });
}

class CpuBackend {
 public:
  explicit CpuBackend(const Tensor&) {}

 protected:
  cpu::Threads threads_{torch_parallel_for, nullptr};
};

}  // namespace scrn
