#pragma once

// The registers of the instruction set that the including translation unit is compiled for, by
// their names within this family.

#include "../../common/cpu/parallel.h"
#include "../../common/cpu/vec.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

using namespace scrn::cpu::SCRN_CPU_ISA;
using scrn::cpu::thread_scratch;

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
