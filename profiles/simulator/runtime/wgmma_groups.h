// Warpgroup products of one warp that are under way.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace roofgate::sim {

struct WgmmaProduct;  // wgmma.h

using WgmmaGroup = std::vector<std::shared_ptr<WgmmaProduct>>;

struct WgmmaGroups {
  uint32_t agent = 0;                // of the clocks; 0: no product yet
  uint32_t issued = 0;               // products; also the agent's time
  uint32_t completed = 0;            // of them, those that were waited for
  WgmmaGroup open;                   // since the last commit
  std::deque<WgmmaGroup> committed;  // oldest first

  // By number of a watched register (see wgmma_watch.h): the product that writes or reads it, and
  // whether it was modified since the last wgmma.fence.
  std::vector<uint32_t> busy_until;
  std::vector<uint8_t> modified;
};

}  // namespace roofgate::sim
