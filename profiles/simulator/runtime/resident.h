// Clusters of blocks that have started and not ended.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "warp.h"

namespace roofgate::sim {

// Memory of one cluster, used again by the next.
class Arena {
 public:
  std::byte* take(uint64_t bytes, uint64_t alignment);

  void reset() { used_ = 0; }

 private:
  std::deque<std::vector<std::byte>> chunks_;
  size_t used_ = 0;
};

struct Resident {
  Cluster cluster;
  Arena arena;
  std::vector<Warp*> warps;
  std::vector<uint64_t> priorities;
  size_t turn = 0;
  uint64_t known_progress = 0;
  int idle_rounds = 0;
};

// The clusters of a launch, as a grid.
Dim3 cluster_grid(const Launch& launch);

// The registers of a warp before its first instruction, without the special ones.
std::vector<std::byte> initial_registers(const Program& program);

// Puts the cluster number `index` of the launch at its first instruction. `counters` has one
// element for each site.
void start(Resident& resident, Launch& launch, const std::vector<std::byte>& registers,
           uint64_t index, SiteCounters* counters);

}  // namespace roofgate::sim
