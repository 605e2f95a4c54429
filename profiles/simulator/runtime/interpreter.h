// Runs one warp until it stops.
#pragma once

#include "warp.h"

namespace roofgate::sim {

// What this thread is executing, for the report of a crash.
extern thread_local Warp* current_warp;
extern thread_local const Instruction* current_instruction;

// Whether any lane of the warp can go on.
bool can_run(const Warp& warp);

// Runs until no lane of the warp can go on, or `quantum` instructions were executed. Returns how
// many were. Throws LaunchFailure if the kernel cannot go on.
uint64_t run_warp(Warp& warp, uint64_t quantum);

// Sends the lanes of `taken` (all executing or some) to `target`, the other active lanes on to the
// next instruction: for handlers of branches, which then return Status::kJumped.
void branch(Warp& warp, const Instruction& instruction, LaneMask taken, uint32_t target);

// Ends the executing lanes.
Status exit_lanes(Warp& warp);

}  // namespace roofgate::sim
