// Instructions in which all 32 lanes of a warp take part.
#pragma once

#include "findings.h"

namespace roofgate::sim {

// .aligned instructions that move data between lanes are undefined in a warp of which some lanes
// have exited or were never there.
inline void require_full_warp(Warp& warp, const Instruction& instruction) {
  require_convergence(warp, instruction);
  if (warp.live == kAllLanes) return;
  fail(warp, instruction,
       {Check::kDivergence, "the instruction needs all 32 lanes of the warp, but some do not exist",
        ~warp.live});
}

}  // namespace roofgate::sim
