// Asynchronous copies (cp.async) of one warp that are under way.
//
// Every thread of a warp has groups of its own. A lane's groups are numbered 0, 1, ... as it
// commits them, and its open group has the number of those it committed. Copies that one
// instruction starts in lanes with the same open group are kept together; lanes that diverged
// between commits give several. So each lane waits for exactly its own copies, and no more is
// stored for a converged warp than one record per instruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lanes.h"

namespace roofgate::sim {

struct AsyncAccess;
struct Warp;

// What one cp.async started in lanes whose open group had the number `group`.
struct StartedCopy {
  LaneMask lanes = 0;  // whose bytes have not arrived
  uint32_t group = 0;
  uint32_t time = 0;
  uint32_t bytes = 0;      // written by each lane: 4, 8 or 16
  Lanes<uint32_t> read;    // bytes read by each lane; the rest of `bytes` is zero
  Lanes<uint32_t> target;  // offsets in the block's shared memory
  Lanes<std::byte*> source;
  std::shared_ptr<AsyncAccess> access;  // nullptr unless races are checked
};

// For the clocks, the copies of a warp are one agent; each StartedCopy is a time of it.
struct CopyGroups {
  uint32_t committed[kLanes] = {};   // groups of each lane
  std::vector<StartedCopy> started;  // in the order of the program
  std::optional<uint32_t> agent;     // once there was a copy with races checked
  uint32_t time = 0;                 // of the last copy
};

// The bytes of the copies that `lanes` started up to `time`, committed or not, arrive. Nobody has
// waited for them by that.
void land_copies(Warp& warp, LaneMask lanes, uint32_t time);

}  // namespace roofgate::sim
