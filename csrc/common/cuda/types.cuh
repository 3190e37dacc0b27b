#pragma once

// Element types that are known at run time only.

#include "../params.h"
#include "vec.cuh"

namespace scrn::cuda {

template <typename... T>
struct Types {};

using AnyType = Types<float, double, __half, __nv_bfloat16>;

template <typename T>
inline constexpr DType kDType = std::is_same_v<T, float>    ? DType::kFloat
                                : std::is_same_v<T, double> ? DType::kDouble
                                : std::is_same_v<T, __half> ? DType::kHalf
                                                            : DType::kBFloat16;

// Calls f with a null pointer of the type that `dtype` names.
template <typename... T, typename F>
SCRN_DEVICE void with_type(Types<T...>, DType dtype, F&& f) {
  ((dtype == kDType<T> ? f(static_cast<T*>(nullptr)) : void()), ...);
}

template <typename Allowed, typename A>
SCRN_DEVICE A load_any(const void* base, DType dtype, int64_t index) {
  A value = A(0);
  with_type(Allowed{}, dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    value = static_cast<A>(widen(static_cast<const S*>(base)[index]));
  });
  return value;
}

template <typename Allowed, typename A>
SCRN_DEVICE void store_any(void* base, DType dtype, int64_t index, A value) {
  with_type(Allowed{}, dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    static_cast<S*>(base)[index] = narrow<S>(value);
  });
}

// On the host: what f returns for a null pointer of the type that `dtype` names.
template <typename F>
auto with_features(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kDouble:
      return f(static_cast<double*>(nullptr));
    case DType::kHalf:
      return f(static_cast<__half*>(nullptr));
    case DType::kBFloat16:
      return f(static_cast<__nv_bfloat16*>(nullptr));
    default:
      return f(static_cast<float*>(nullptr));
  }
}

}  // namespace scrn::cuda
