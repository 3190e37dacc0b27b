#pragma once

// Puts what the library allocates by `new`, the tables of an operator, between pages that nobody
// may touch, and notes how much scratch memory a thread asks for. To be included once.
// AddressSanitizer watches such memory without it.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace cpu_kernels {

bool guards = false;
int64_t guarded_allocations = 0;
size_t largest_scratch = 0;

// For as long as one lives.
class Guarding {
 public:
  Guarding() { guards = true; }
  ~Guarding() { guards = false; }
};

// Addresses that are handed out one after the other, and all again once everything was freed.
class Arena {
 public:
  void* allocate(size_t size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t end = used_ + page + (size + page - 1) / page * page;
    if (end + page > kBytes || !reserve()) return nullptr;
    char* const first = base_ + used_ + page;
    if (mprotect(first, end - used_ - page, PROT_READ | PROT_WRITE) != 0) return nullptr;
    std::memset(first, 0xFF, end - used_ - page);
    used_ = end;
    ++live_;
    ++guarded_allocations;
    return base_ + end - (size + kAlignment - 1) / kAlignment * kAlignment;
  }

  bool free(const void* pointer) {
    const char* const at = static_cast<const char*>(pointer);
    if (base_ == nullptr || at < base_ || at > base_ + kBytes) return false;
    if (--live_ == 0) {
      mprotect(base_, used_, PROT_NONE);
      used_ = 0;
    }
    return true;
  }

 private:
  static constexpr size_t kBytes = size_t{1} << 28, kAlignment = 16;

  bool reserve() {
    if (base_ == nullptr) {
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      void* const memory = mmap(nullptr, kBytes, PROT_NONE, flags, -1, 0);
      if (memory != MAP_FAILED) base_ = static_cast<char*>(memory);
    }
    return base_ != nullptr;
  }

  char* base_ = nullptr;
  size_t used_ = 0, live_ = 0;
};

Arena arena;

}  // namespace cpu_kernels

#ifndef __SANITIZE_ADDRESS__

// Of this library alone.
asm(".hidden _Znwm\n.hidden _ZdlPv\n.hidden _ZdlPvm");
asm(".hidden _ZnwmSt11align_val_t\n.hidden _ZdlPvSt11align_val_t");

void* operator new(size_t size) {
  void* memory = cpu_kernels::guards ? cpu_kernels::arena.allocate(size) : nullptr;
  if (memory == nullptr) memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  if (!cpu_kernels::arena.free(memory)) std::free(memory);
}

void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

// Scratch memory alone is asked for with an alignment.
void* operator new(size_t size, std::align_val_t alignment) {
  if (size > cpu_kernels::largest_scratch) cpu_kernels::largest_scratch = size;
  const size_t step = static_cast<size_t>(alignment);
  void* const memory = std::aligned_alloc(step, (size + step - 1) / step * step);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

#endif
