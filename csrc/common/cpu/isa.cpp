// Chooses the instruction set.

#include "isa.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace scrn::cpu {
namespace {

constexpr const char* kVariable = "SCRN_OPS_CPU";

struct Known {
  InstructionSet set;
  const char* name;
  bool (*supported)();
};

#if defined(SCRN_X86)
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
constexpr Known kInstructionSets[] = {
#if defined(SCRN_X86)
    {InstructionSet::kAvx512, "avx512", has_avx512},
    {InstructionSet::kAvx2, "avx2", has_avx2},
#endif
    {InstructionSet::kPortable, "portable", [] { return true; }},
};

const Known& current() {
  const char* forced = std::getenv(kVariable);
  if (forced == nullptr || *forced == '\0') {
    for (const Known& known : kInstructionSets) {
      if (known.supported()) return known;
    }
  }
  std::string available;
  for (const Known& known : kInstructionSets) {
    if (!known.supported()) continue;
    if (std::strcmp(known.name, forced) == 0) return known;
    available += std::string(available.empty() ? "" : ", ") + known.name;
  }
  throw std::runtime_error(std::string(kVariable) + "=" + forced +
                           " names no instruction set that this build and machine have; "
                           "available: " +
                           available);
}

}  // namespace

InstructionSet instruction_set_in_use() { return current().set; }

const char* instruction_set() { return current().name; }

bool instruction_set_available(const char* name) {
  for (const Known& known : kInstructionSets) {
    if (std::strcmp(known.name, name) == 0) return known.supported();
  }
  return false;
}

}  // namespace scrn::cpu
