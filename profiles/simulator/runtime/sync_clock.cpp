#include "sync_clock.h"

#include "warp.h"

namespace roofgate::sim {
namespace {

bool checks_races(const Warp& warp) { return launch_of(warp).options.check_races; }

}  // namespace

void advance_time(Warp& warp) { warp.clock.set(warp.agent, warp.clock[warp.agent] + 1); }

void release(Warp& warp, SyncPoint& point) {
  if (!checks_races(warp)) return;
  point.clock.join(warp.clock);
  point.async_clock.join(warp.async_clock);
  join(point.remote, warp.remote);
  advance_time(warp);
}

void acquire(Warp& warp, const SyncPoint& point) {
  if (!checks_races(warp)) return;
  warp.clock.join(point.clock);
  warp.async_clock.join(point.async_clock);
  join(warp.remote, point.remote);
}

void release_fence(Warp& warp) { release(warp, warp.fences.released); }

void acquire_fence(Warp& warp) {
  acquire(warp, warp.fences.pending);
  warp.fences.pending.clear();
}

uint32_t cluster_number(const Warp& warp) {
  const Dim3& grid = launch_of(warp).grid;
  const Dim3& first = warp.block->cluster->blocks[0]->index;
  return first.x + grid.x * (first.y + grid.y * first.z);
}

void publish(Warp& warp, SyncVariables& variables, uint64_t address) {
  RemoteClocks& clocks = variables[address];
  clocks[cluster_number(warp)].join(warp.fences.released.clock);
  join(clocks, warp.fences.released.remote);
}

void observe(Warp& warp, const SyncVariables& variables, uint64_t address) {
  const auto known = variables.find(address);
  if (known == variables.end()) return;
  const uint32_t own = cluster_number(warp);
  for (const auto& [cluster, clock] : known->second) {
    if (cluster == own) {
      warp.fences.pending.clock.join(clock);
    } else {
      warp.fences.pending.remote[cluster].join(clock);
    }
  }
}

}  // namespace roofgate::sim
