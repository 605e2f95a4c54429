// Bulk and tensor copies of one warp that write global memory: each lane has groups of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

namespace roofgate::sim {

struct BulkStore;  // bulk_copy.h

using BulkGroup = std::vector<std::shared_ptr<BulkStore>>;

struct BulkLane {
  uint32_t read_agent = 0;  // of the clocks; 0: no copy yet
  uint32_t write_agent = 0;
  uint32_t time = 0;                // of both
  BulkGroup open;                   // since the last commit
  std::deque<BulkGroup> committed;  // oldest first
};

struct BulkGroups {
  std::map<int, BulkLane> lanes;  // those that ever started a copy
};

}  // namespace roofgate::sim
