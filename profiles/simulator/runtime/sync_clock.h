// Happens-before: who has seen what.
//
// Every agent of a cluster (a warp, or an asynchronous unit such as the copies that complete on one
// mbarrier) counts its own time. A vector clock says up to which time of every agent an observer
// has seen. An access at time t of agent a happened before the observer's present if clock[a] >= t.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace roofgate::sim {

struct Warp;

class VectorClock {
 public:
  uint32_t operator[](uint32_t agent) const { return agent < times_.size() ? times_[agent] : 0; }

  void set(uint32_t agent, uint32_t time) {
    if (agent >= times_.size()) times_.resize(agent + 1, 0);
    times_[agent] = time;
  }

  void join(const VectorClock& other) {
    if (other.times_.size() > times_.size()) times_.resize(other.times_.size(), 0);
    for (size_t i = 0; i < other.times_.size(); ++i) {
      if (other.times_[i] > times_[i]) times_[i] = other.times_[i];
    }
  }

  void clear() { times_.clear(); }

 private:
  std::vector<uint32_t> times_;
};

// What a warp has seen of other clusters than its own, by the number of the cluster's first block.
using RemoteClocks = std::map<uint32_t, VectorClock>;

inline void join(RemoteClocks& clocks, const RemoteClocks& others) {
  for (const auto& [cluster, clock] : others) clocks[cluster].join(clock);
}

// What passes through a barrier, an mbarrier or an atomic variable from those who release to those
// who acquire. `async_clock` is the part that is also visible to the asynchronous proxy (TMA,
// wgmma): what happened before some fence.proxy.async.
struct SyncPoint {
  VectorClock clock;
  VectorClock async_clock;
  RemoteClocks remote;

  void clear() {
    clock.clear();
    async_clock.clear();
    remote.clear();
  }
};

// Both do nothing unless races are checked.
void release(Warp& warp, SyncPoint& point);  // passes all the warp has seen; advances its own time
void acquire(Warp& warp, const SyncPoint& point);

// Ends the present time of the warp: what it does from now on is not covered by what others got
// from it before.
void advance_time(Warp& warp);

// --- atomic variables: PTX ISA, "Memory Consistency Model", release and acquire patterns ---

// What strong writes to variables released, by address and cluster.
using SyncVariables = std::map<uint64_t, RemoteClocks>;

// What the fences of a warp order.
struct Fences {
  SyncPoint released;  // by the last fence: strong writes pass it on
  SyncPoint pending;   // seen by strong reads: the next fence acquires it
};

// The two halves of a fence. Scopes are not told apart.
void release_fence(Warp& warp);
void acquire_fence(Warp& warp);
// A strong write of a variable passes on what the last fence released.
void publish(Warp& warp, SyncVariables& variables, uint64_t address);
// A strong read of a variable: the next fence acquires what was passed on.
void observe(Warp& warp, const SyncVariables& variables, uint64_t address);

// The warp's cluster: the number of its first block in the grid.
uint32_t cluster_number(const Warp& warp);

}  // namespace roofgate::sim
