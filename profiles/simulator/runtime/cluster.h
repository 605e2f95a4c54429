// The barrier of a cluster: barrier.cluster.
#pragma once

#include "warp.h"

namespace roofgate::sim {

// Completes the phase if all lanes of the cluster that have not ended have arrived: after an
// arrival, and when lanes end.
void complete_cluster_phase(Cluster& cluster);

}  // namespace roofgate::sim
