#include "parallel.h"

#include <memory>
#include <new>

namespace scrn::cpu {
namespace {

struct FreeAligned {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};

}  // namespace

void* thread_scratch(size_t bytes) {
  thread_local std::unique_ptr<void, FreeAligned> memory;
  thread_local size_t size = 0;
  if (bytes > size) {
    memory.reset();
    size = 0;
    memory.reset(::operator new(bytes, std::align_val_t(64)));
    size = bytes;
  }
  return memory.get();
}

}  // namespace scrn::cpu
