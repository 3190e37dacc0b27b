#pragma once

// Which instruction set's kernels are used. Every family is compiled for all of them, in
// translation units of its own.

namespace scrn::cpu {

#if !defined(SCRN_NO_X86) && (defined(__x86_64__) || defined(__i386__))
#define SCRN_X86 1
#endif

enum class InstructionSet { kAvx512, kAvx2, kPortable };

// Throws std::runtime_error where SCRN_OPS_CPU forces an unknown one or one that is not available.
InstructionSet instruction_set_in_use();

// The name of the one in use: "avx512", "avx2" or "portable".
const char* instruction_set();
// Whether this build has kernels for it and the machine can run them; SCRN_OPS_CPU is not looked
// at.
bool instruction_set_available(const char* name);

template <typename F>
auto& in_use(F* avx512, F* avx2, F* portable) {
  switch (instruction_set_in_use()) {
    case InstructionSet::kAvx512:
      return avx512();
    case InstructionSet::kAvx2:
      return avx2();
    default:
      return portable();
  }
}

// The kernels of the instruction set in use, where a family has the functions NAME_avx512,
// NAME_avx2 and NAME_portable that return its table of kernels.
#if defined(SCRN_X86)
#define SCRN_KERNELS_IN_USE(name) \
  ::scrn::cpu::in_use(&name##_avx512, &name##_avx2, &name##_portable)
#else
#define SCRN_KERNELS_IN_USE(name) \
  ::scrn::cpu::in_use(&name##_portable, &name##_portable, &name##_portable)
#endif

}  // namespace scrn::cpu
