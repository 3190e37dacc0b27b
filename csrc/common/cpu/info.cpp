// Exported under C names, so that Python can ask through ctypes which kernels it got.
#include <cstdio>
#include <exception>

#include "isa.h"

#define SCRN_EXPORT extern "C" __attribute__((visibility("default")))

// Writes the name of the instruction set in use, or, returning false, why there is none.
SCRN_EXPORT bool scrn_ops_cpu_instruction_set(char* text, size_t size) {
  try {
    std::snprintf(text, size, "%s", scrn::cpu::instruction_set());
    return true;
  } catch (const std::exception& error) {
    std::snprintf(text, size, "%s", error.what());
    return false;
  }
}

SCRN_EXPORT bool scrn_ops_cpu_has_instruction_set(const char* name) {
  return scrn::cpu::instruction_set_available(name);
}
