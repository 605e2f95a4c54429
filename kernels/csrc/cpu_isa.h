// Instruction sets of this processor, as roofgate_isa names them.
#pragma once

#include "roofgate_abi.h"

namespace roofgate {

// The widest instruction set that the processor and the operating system offer.
roofgate_isa best_isa();

// Turns a requested isa (AUTO included) into one that can run here. Returns
// ROOFGATE_UNSUPPORTED_ISA where the processor lacks it or the value names none.
roofgate_status resolve_isa(int32_t requested, roofgate_isa* resolved);

}  // namespace roofgate
