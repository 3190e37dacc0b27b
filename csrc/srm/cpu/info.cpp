// Exported under C names, so that Python can ask through ctypes which kernels it got.
#include "../srm_cpu.h"

#define SCRN_EXPORT extern "C" __attribute__((visibility("default")))

SCRN_EXPORT const char* scrn_ops_cpu_instruction_set() { return scrn::cpu::instruction_set(); }

SCRN_EXPORT int scrn_ops_cpu_has_instruction_set(const char* name) {
  return scrn::cpu::instruction_set_available(name) ? 1 : 0;
}
