// Chooses the instruction set.

#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "../srm_cpu.h"

namespace scrn::cpu {
namespace {

constexpr const char* kVariable = "SCRN_OPS_CPU";

struct InstructionSet {
  const char* name;
  const Kernels& (*kernels)();
  bool (*supported)();
};

#if !defined(SCRN_NO_X86) && (defined(__x86_64__) || defined(__i386__))
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

// Best first.
constexpr InstructionSet kInstructionSets[] = {
#if !defined(SCRN_NO_X86) && (defined(__x86_64__) || defined(__i386__))
    {"avx512", kernels_avx512, has_avx512},
    {"avx2", kernels_avx2, has_avx2},
#endif
    {"portable", kernels_portable, [] { return true; }},
};

const InstructionSet& current() {
  const char* forced = std::getenv(kVariable);
  if (forced == nullptr || *forced == '\0') {
    for (const InstructionSet& set : kInstructionSets) {
      if (set.supported()) return set;
    }
  }
  std::string available;
  for (const InstructionSet& set : kInstructionSets) {
    if (!set.supported()) continue;
    if (std::strcmp(set.name, forced) == 0) return set;
    available += std::string(available.empty() ? "" : ", ") + set.name;
  }
  throw std::runtime_error(std::string(kVariable) + "=" + forced +
                           " names no instruction set that this build and machine have; "
                           "available: " +
                           available);
}

}  // namespace

const Kernels& current_kernels() { return current().kernels(); }

const char* instruction_set() { return current().name; }

bool instruction_set_available(const char* name) {
  for (const InstructionSet& set : kInstructionSets) {
    if (std::strcmp(set.name, name) == 0) return set.supported();
  }
  return false;
}

}  // namespace scrn::cpu
