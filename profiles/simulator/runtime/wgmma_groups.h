// Warpgroup products of one warp that are under way. Kept only if races are checked.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace roofgate::sim {

struct WgmmaProduct;  // wgmma.h

using WgmmaGroup = std::vector<std::shared_ptr<WgmmaProduct>>;

// What is known of a register that is, or is copied from or to, an operand of products.
struct WatchedRegister {
  uint32_t written_by = 0;  // number of the last product that writes it; 0: none
  uint32_t read_by = 0;     // or reads it
  bool modified = false;    // by another instruction, since the last wgmma.fence
};

struct WgmmaGroups {
  uint32_t agent = 0;                      // of the clocks; 0: no product yet
  uint32_t issued = 0;                     // products; also the agent's time
  uint32_t completed = 0;                  // of them, those that were waited for
  bool fenced = false;                     // a wgmma.fence was executed
  WgmmaGroup open;                         // since the last commit
  std::deque<WgmmaGroup> committed;        // oldest first
  std::vector<WatchedRegister> registers;  // by number, see wgmma_watch.cpp
};

}  // namespace roofgate::sim
