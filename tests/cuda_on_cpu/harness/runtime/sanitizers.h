#pragma once

// The sanitizers' fiber interfaces behind one set of functions; empty in the plain build.
// The runtime itself is compiled without -fsanitize, so the build says which one is meant.

#include <cstddef>
#include <cstdint>

#if defined(SCRN_ON_CPU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(SCRN_ON_CPU_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace cuda_on_cpu {

#if defined(SCRN_ON_CPU_TSAN)
inline constexpr bool kThreadSanitizer = true;
inline void* create_sanitizer_fiber() { return __tsan_create_fiber(0); }
inline void destroy_sanitizer_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void* current_sanitizer_fiber() { return __tsan_get_current_fiber(); }
inline void name_sanitizer_fiber(void* fiber, const char* name) {
  __tsan_set_fiber_name(fiber, name);
}
inline void switch_sanitizer_fiber(void* fiber, bool ordered) {
  __tsan_switch_to_fiber(fiber, ordered ? 0 : __tsan_switch_to_fiber_no_sync);
}
// What came before `order_before(token)` comes before what follows `order_after(token)`.
inline void order_before(void* token) { __tsan_release(token); }
inline void order_after(void* token) { __tsan_acquire(token); }
#else
inline constexpr bool kThreadSanitizer = false;
inline void* create_sanitizer_fiber() { return nullptr; }
inline void destroy_sanitizer_fiber(void*) {}
inline void* current_sanitizer_fiber() { return nullptr; }
inline void name_sanitizer_fiber(void*, const char*) {}
inline void switch_sanitizer_fiber(void*, bool) {}
inline void order_before(void*) {}
inline void order_after(void*) {}
#endif

#if defined(SCRN_ON_CPU_ASAN)
inline constexpr bool kAddressSanitizer = true;
inline void start_switch(void** save, const void* bottom, size_t bytes) {
  __sanitizer_start_switch_fiber(save, bottom, bytes);
}
inline void finish_switch(void* saved, const void** bottom, size_t* bytes) {
  __sanitizer_finish_switch_fiber(saved, bottom, bytes);
}
inline void poison(const void* data, size_t bytes) { __asan_poison_memory_region(data, bytes); }
inline void unpoison(const void* data, size_t bytes) { __asan_unpoison_memory_region(data, bytes); }
#else
inline constexpr bool kAddressSanitizer = false;
inline void start_switch(void**, const void*, size_t) {}
inline void finish_switch(void*, const void**, size_t*) {}
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
#endif

}  // namespace cuda_on_cpu
