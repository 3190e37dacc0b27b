#pragma once

// Forced in front of every kernel source (-include) when it is compiled for the CPU: the CUDA
// words, and the macros of csrc/common/macros.h that the GPU build spells with CUDA syntax.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <tuple>

#include "atomics.h"
#include "core.h"
#include "vocabulary.h"

namespace cuda_on_cpu {

// What a launch with impossible extents or too much shared memory returns on a GPU.
bool accept_launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_bytes);

// Every thread gets its own copy of the arguments, converted to the kernel's parameter types.
template <typename... Parameters, typename... Arguments>
void launch(const char* expression, Site site, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t dynamic_bytes, const void*, const Arguments&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_cv_t<Parameters>...> arguments;
  };
  const auto* address = reinterpret_cast<const void*>(kernel);
  if (!accept_launch(address, grid, block, dynamic_bytes)) return;
  const Call call{kernel, {static_cast<std::remove_cv_t<Parameters>>(arguments)...}};
  const auto invoke = [](const void* data) {
    const auto* self = static_cast<const Call*>(data);
    std::apply(self->kernel, self->arguments);
  };
  execute({expression, address, site, grid, block, dynamic_bytes, invoke, &call});
}

}  // namespace cuda_on_cpu

#define SCRN_SHARED(type, name, extents)                                                    \
  using scrn_on_cpu_type_##name = type extents;                                             \
  static const char scrn_on_cpu_key_##name = 0;                                             \
  auto& name = *static_cast<scrn_on_cpu_type_##name*>(                                      \
      ::cuda_on_cpu::shared_array(&scrn_on_cpu_key_##name, sizeof(scrn_on_cpu_type_##name), \
                                  alignof(scrn_on_cpu_type_##name), #name))
#define SCRN_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::cuda_on_cpu::dynamic_shared(alignof(type), #name))
#define SCRN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                            \
  ::cuda_on_cpu::launch(#kernel, ::cuda_on_cpu::Site{__FILE__, __LINE__}, kernel, grid, block, \
                        shared_bytes, stream, __VA_ARGS__)
