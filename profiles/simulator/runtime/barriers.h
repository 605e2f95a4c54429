// The barriers of a block: bar.sync, bar.arrive, bar.red.
#pragma once

#include "warp.h"

namespace roofgate::sim {

// Lets barriers of the whole block, and of its cluster, go on that only lanes
// that have ended were missing from.
void on_exits(Block& block);

}  // namespace roofgate::sim
