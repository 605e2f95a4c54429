// Runs the blocks of a launch.
#pragma once

#include "warp.h"

namespace roofgate::sim {

// Runs all blocks; counters end in launch.counters. Throws LaunchFailure, after recording the
// finding, if the kernel cannot go on.
void run_launch(Launch& launch);

}  // namespace roofgate::sim
