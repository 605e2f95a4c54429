// The read-only registers that say where a thread is.
#pragma once

#include "warp.h"

namespace roofgate::sim {

// Fills the warp's constants that stand for special registers. Throws LaunchFailure for one that
// has no meaning here.
void set_special_registers(Warp& warp);

}  // namespace roofgate::sim
