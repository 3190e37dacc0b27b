#pragma once

// What the bindings of every family and device share: checks, layouts, allocation. A check that
// fails throws; the raw operators are reachable without the Python API and must never crash.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "params.h"

namespace scrn {

using torch::headeronly::IntHeaderOnlyArrayRef;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

// A macro, since the message costs more than the check. (STD_TORCH_CHECK would put the path of
// this file into it.)
#define SCRN_CHECK(condition, ...)               \
  do {                                           \
    if (!(condition)) ::scrn::fail(__VA_ARGS__); \
  } while (false)

inline std::string shape_text(const Tensor& tensor) {
  std::string text = "[";
  for (const int64_t size : tensor.sizes()) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

inline DType dtype_of(std::string_view name, const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  if (type == ScalarType::Float) return DType::kFloat;
  if (type == ScalarType::Double) return DType::kDouble;
  if (type == ScalarType::Half) return DType::kHalf;
  SCRN_CHECK(type == ScalarType::BFloat16, name,
             ": expected dtype float32, float64, float16 or bfloat16");
  return DType::kBFloat16;
}

inline ScalarType scalar_type_of(DType type) {
  switch (type) {
    case DType::kDouble:
      return ScalarType::Double;
    case DType::kHalf:
      return ScalarType::Half;
    case DType::kBFloat16:
      return ScalarType::BFloat16;
    default:
      return ScalarType::Float;
  }
}

inline void check_map(std::string_view name, const Tensor& tensor) {
  SCRN_CHECK(tensor.layout() == torch::headeronly::Layout::Strided, name,
             ": expected a dense tensor");
  const IntHeaderOnlyArrayRef sizes = tensor.sizes();
  SCRN_CHECK(sizes.size() == 4, name, ": expected 4 dimensions [B, C, H, W], got ",
             shape_text(tensor));
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  for (const int64_t d : {2, 3}) {
    SCRN_CHECK(sizes[d] >= 1 && sizes[d] <= kMax, name,
               ": expected a height and a width from 1 to ", kMax, ", got ", shape_text(tensor));
  }
}

inline void check_device(std::string_view name, const Tensor& tensor, const Tensor& like) {
  SCRN_CHECK(tensor.device() == like.device(), name, ": expected all tensors on one device");
}

inline void check_shape(std::string_view name, const Tensor& tensor,
                        const std::array<int64_t, 4>& shape) {
  check_map(name, tensor);
  const IntHeaderOnlyArrayRef sizes = tensor.sizes();
  for (int64_t d = 0; d < 4; ++d) {
    SCRN_CHECK(sizes[d] == shape[d], name, ": expected [", shape[0], ", ", shape[1], ", ", shape[2],
               ", ", shape[3], "], got ", shape_text(tensor));
  }
}

// As torch decides it in suggest_memory_format.
inline bool is_channels_last(const Tensor& map) {
  const IntHeaderOnlyArrayRef sizes = map.sizes(), strides = map.strides();
  if (strides[1] == 0) return false;
  int64_t smallest = 0;
  for (const int64_t d : {1, 3, 2, 0}) {
    if (sizes[d] == 0 || strides[d] < smallest) return false;
    // A map of N1HW or N111 that fits both layouts counts as NCHW.
    if (d == 0 && smallest == strides[1]) return false;
    smallest = strides[d] * (sizes[d] > 1 ? sizes[d] : 1);
  }
  return true;
}

inline MemoryFormat memory_format(bool channels_last) {
  return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

// The type of a failed allocation's error, torch.OutOfMemoryError, is lost in the stable ABI, and
// before torch 2.13 its text, too. Programs that then try a smaller batch look for torch's words.
template <typename F>
Tensor allocated(const Tensor& like, F&& allocate) {
  try {
    return allocate();
  } catch (const std::exception& error) {
    // Where the text is not lost this follows it.
    if (std::string_view(error.what()).find("originally from") != std::string_view::npos) throw;
    fail(like.is_cuda() ? "CUDA out of memory" : "DefaultCPUAllocator: can't allocate memory",
         ", or another failure of the allocator: torch wrote the cause to stderr (", error.what(),
         ")");
  }
}

// As torch decides it in is_contiguous of that format.
inline bool is_dense(const Tensor& map, bool channels_last) {
  using Order = std::array<int64_t, 4>;
  const IntHeaderOnlyArrayRef sizes = map.sizes(), strides = map.strides();
  int64_t expected = 1;
  for (const int64_t d : channels_last ? Order{1, 3, 2, 0} : Order{3, 2, 1, 0}) {
    if (sizes[d] != 1 && strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

inline Tensor dense(const Tensor& map, bool channels_last = false) {
  if (is_dense(map, channels_last)) return map;  // a call of torch's operator costs a microsecond
  return allocated(map,
                   [&] { return torch::stable::contiguous(map, memory_format(channels_last)); });
}

// As torch::stable::new_empty, which looks the operator up by its name and boxes the arguments at
// each call: three times the work of a small allocation.
inline Tensor new_empty(const Tensor& like, IntHeaderOnlyArrayRef sizes, ScalarType type) {
  int32_t dtype = torch::stable::detail::to<int32_t>(torch::stable::detail::from(type));
  AtenTensorHandle result = nullptr;
  const AOTITorchError error = aoti_torch_aten_new_empty(
      like.get(), sizes.data(), static_cast<int64_t>(sizes.size()), &dtype, /*layout=*/nullptr,
      /*device=*/nullptr, /*device_index_=*/0, /*pin_memory=*/nullptr, &result);
  if (error == TORCH_SUCCESS) return Tensor(result);
  // What failed fails there again, and says why.
  return allocated(like, [&] { return torch::stable::new_empty(like, sizes, type); });
}

inline Tensor empty_map(const Tensor& like, const std::array<int64_t, 4>& shape, ScalarType type,
                        bool channels_last = false) {
  const IntHeaderOnlyArrayRef sizes(shape.data(), shape.size());
  if (!channels_last) return new_empty(like, sizes, type);
  return allocated(like, [&] {
    return torch::stable::empty(sizes, type, std::nullopt, like.device(), std::nullopt,
                                MemoryFormat::ChannelsLast);
  });
}

// What an operator returns in the place of a gradient that was not asked for.
inline Tensor no_gradient(const Tensor& like) {
  const int64_t none = 0;
  return new_empty(like, {&none, 1}, like.scalar_type());
}

inline Tensor gradient_of(const Tensor& like, const std::array<int64_t, 4>& shape, bool wanted,
                          bool channels_last = false) {
  return wanted ? empty_map(like, shape, like.scalar_type(), channels_last) : no_gradient(like);
}

inline void* pointer_if(bool wanted, const Tensor& tensor) {
  return wanted ? tensor.mutable_data_ptr() : nullptr;
}

inline std::array<int64_t, 4> shape_of(const Tensor& map) {
  const IntHeaderOnlyArrayRef sizes = map.sizes();
  return {sizes[0], sizes[1], sizes[2], sizes[3]};
}

}  // namespace scrn
