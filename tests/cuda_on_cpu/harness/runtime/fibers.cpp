#include "fibers.h"

#include <sys/mman.h>

#include <new>

#include "sanitizers.h"

#if !defined(__x86_64__)
#error "the context switch below is written for x86-64"
#endif

// void switch_context(void** save, void* load): pushes what a call must preserve, leaves the
// stack pointer in *save and continues where `load` was left.
asm(R"(
.text
.p2align 4
.globl cuda_on_cpu_switch_context
.hidden cuda_on_cpu_switch_context
.type cuda_on_cpu_switch_context, @function
cuda_on_cpu_switch_context:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_cpu_switch_context, .-cuda_on_cpu_switch_context
)");
extern "C" __attribute__((visibility("hidden"))) void cuda_on_cpu_switch_context(void** save,
                                                                                 void* load);

namespace cuda_on_cpu {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStackBytes = (kAddressSanitizer || kThreadSanitizer ? 64 : 32) * kPage;
constexpr int kSavedRegisters = 6;

}  // namespace

struct Fiber {
  std::byte* stack = nullptr;  // above its guard page
  void* top = nullptr;
  void* context = nullptr;
  void* sanitizer = nullptr;
  void* fake_stack = nullptr;
  void (*entry)() = nullptr;
};

namespace {

Fiber fibers[kFiberSets][kMaxThreads];
Fiber* current = nullptr;
void* main_context = nullptr;
void* main_sanitizer = nullptr;
void* main_fake_stack = nullptr;
const void* main_stack = nullptr;
size_t main_stack_bytes = 0;

void create(Fiber& fiber, int index) {
  const size_t bytes = kPage + kStackBytes;
  void* mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, kPage, PROT_NONE) != 0) throw std::bad_alloc();
  fiber.stack = static_cast<std::byte*>(mapping) + kPage;
  // Equal strides between the stacks would put all their tops into the same sets of the cache.
  fiber.top = fiber.stack + kStackBytes - 64 * static_cast<size_t>(1 + index % 61);
}

void enter() {
  finish_switch(nullptr, &main_stack, &main_stack_bytes);
  current->entry();
  __builtin_trap();  // an entry ends with yield(true)
}

}  // namespace

Fiber* fiber(int set, int index) {
  Fiber& fiber = fibers[set][index];
  if (fiber.stack == nullptr) create(fiber, index);
  if (kThreadSanitizer && fiber.sanitizer == nullptr) fiber.sanitizer = create_sanitizer_fiber();
  return &fiber;
}

void prepare(Fiber* fiber, void (*entry)(), const char* name) {
  unpoison(fiber->stack, kStackBytes);
  fiber->entry = entry;
  fiber->fake_stack = nullptr;
  // As a call leaves it: a return address that is never used, 8 bytes off 16.
  void** top = static_cast<void**>(fiber->top);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&enter);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  fiber->context = top;
  if (kThreadSanitizer) name_sanitizer_fiber(fiber->sanitizer, name);
}

void resume(Fiber* fiber, bool ordered) {
  if (kThreadSanitizer) {
    main_sanitizer = current_sanitizer_fiber();
    switch_sanitizer_fiber(fiber->sanitizer, ordered);
  }
  current = fiber;
  start_switch(&main_fake_stack, fiber->stack, kStackBytes);
  cuda_on_cpu_switch_context(&main_context, fiber->context);
  finish_switch(main_fake_stack, nullptr, nullptr);
  current = nullptr;
}

void yield(bool last) {
  Fiber* self = current;
  if (kThreadSanitizer) switch_sanitizer_fiber(main_sanitizer, false);
  start_switch(last ? nullptr : &self->fake_stack, main_stack, main_stack_bytes);
  cuda_on_cpu_switch_context(&self->context, main_context);
  finish_switch(self->fake_stack, &main_stack, &main_stack_bytes);
}

bool on_fiber() { return current != nullptr; }

bool is_stack_guard(const void* address) {
  if (current == nullptr) return false;
  const std::byte* guard = current->stack - kPage;
  return address >= guard && address < current->stack;
}

void discard_fibers() {
  if (!kThreadSanitizer) return;
  static char token;
  void* main_fiber = current_sanitizer_fiber();
  for (auto& set : fibers) {
    for (Fiber& fiber : set) {
      if (fiber.sanitizer == nullptr) continue;
      // What the fiber did before it was given up comes before all that follows.
      switch_sanitizer_fiber(fiber.sanitizer, false);
      order_before(&token);
      switch_sanitizer_fiber(main_fiber, false);
      order_after(&token);
      destroy_sanitizer_fiber(fiber.sanitizer);
      fiber.sanitizer = nullptr;
    }
  }
}

}  // namespace cuda_on_cpu
