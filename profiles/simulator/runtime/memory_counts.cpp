// How many passes a request takes.
//
// Shared memory has 32 banks of 4 bytes. A pass ("wavefront") serves each bank once; lanes that ask
// for the same word of a bank share it. Requests of 8 and 16 bytes per lane go in halves and
// quarters of the warp, each with its own passes, so a full warp takes at least 2 and 4: each of
// these groups counts as one request, and one wavefront per request is free of bank conflicts
// whatever the width. Hardware can at times serve lanes of different groups in one pass; that is
// not modelled. Neither is that atomics on one word go one after the other.
//
// Global memory is read and written in sectors: aligned blocks of 32 bytes.
#include <algorithm>

#include "memory.h"

namespace roofgate::sim {
namespace {

constexpr uint32_t kBankBytes = 4;
constexpr uint32_t kBanks = 32;
constexpr uint64_t kSectorBytes = 32;

// Passes for lanes of one group, which ask for units of kUnit adjacent banks.
template <uint32_t kUnitBytes>
uint32_t group_passes(const Lanes<uint32_t>& addresses, LaneMask lanes) {
  constexpr uint32_t kPlaces = kBanks * kBankBytes / kUnitBytes;  // that units can lie in
  uint32_t units[kPlaces][kLanes];                                // distinct ones by place
  uint8_t count[kPlaces] = {};
  uint32_t most = 0;
  each_lane(lanes, [&](int l) {
    const uint32_t unit = addresses[l] / kUnitBytes;
    uint32_t* const same_place = units[unit % kPlaces];
    uint8_t& known = count[unit % kPlaces];
    if (std::find(same_place, same_place + known, unit) != same_place + known) return;
    same_place[known++] = unit;
    most = std::max<uint32_t>(most, known);
  });
  return most;
}

struct SharedCost {
  uint32_t requests = 0;
  uint32_t wavefronts = 0;
};

template <uint32_t kUnitBytes>
SharedCost cost(const Lanes<uint32_t>& addresses, LaneMask lanes) {
  constexpr uint32_t kGroups = kUnitBytes / kBankBytes;
  constexpr int kGroupLanes = kLanes / kGroups;
  constexpr LaneMask kFirst = kAllLanes >> (kLanes - kGroupLanes);
  SharedCost sum;
  for (uint32_t group = 0; group < kGroups; ++group) {
    const LaneMask members = lanes & kFirst << group * kGroupLanes;
    if (!members) continue;
    ++sum.requests;
    sum.wavefronts += group_passes<kUnitBytes>(addresses, members);
  }
  return sum;
}

SharedCost shared_cost(const Lanes<uint32_t>& addresses, LaneMask lanes, uint32_t bytes) {
  if (bytes <= 4) return cost<4>(addresses, lanes);
  if (bytes <= 8) return cost<8>(addresses, lanes);
  return cost<16>(addresses, lanes);
}

bool counts(const Warp& warp) { return launch_of(warp).options.count; }

}  // namespace

uint32_t shared_wavefronts(const Lanes<uint32_t>& addresses, LaneMask lanes, uint32_t bytes) {
  return shared_cost(addresses, lanes, bytes).wavefronts;
}

uint32_t global_sectors(const Lanes<uint64_t>& addresses, LaneMask lanes, uint32_t bytes) {
  uint64_t sectors[2 * kLanes];
  uint32_t count = 0;
  bool in_order = true;
  const auto add = [&](uint64_t sector) {
    if (count && sectors[count - 1] == sector) return;
    in_order &= count == 0 || sectors[count - 1] < sector;
    sectors[count++] = sector;
  };
  each_lane(lanes, [&](int l) {
    const uint64_t last = (addresses[l] + bytes - 1) / kSectorBytes;
    for (uint64_t sector = addresses[l] / kSectorBytes; sector <= last; ++sector) add(sector);
  });
  if (in_order) return count;
  std::sort(sectors, sectors + count);
  return static_cast<uint32_t>(std::unique(sectors, sectors + count) - sectors);
}

void count_shared(Warp& warp, const Instruction& instruction, const Lanes<uint32_t>& addresses,
                  LaneMask lanes, uint32_t bytes) {
  if (!counts(warp)) return;
  SiteCounters& site = counters_of(warp, instruction);
  const SharedCost cost = shared_cost(addresses, lanes, bytes);
  site.requests += cost.requests;
  site.wavefronts += cost.wavefronts;
}

void count_global(Warp& warp, const Instruction& instruction, const Lanes<uint64_t>& addresses,
                  LaneMask lanes, uint32_t bytes) {
  if (!counts(warp)) return;
  SiteCounters& site = counters_of(warp, instruction);
  ++site.requests;
  site.sectors += global_sectors(addresses, lanes, bytes);
}

}  // namespace roofgate::sim
