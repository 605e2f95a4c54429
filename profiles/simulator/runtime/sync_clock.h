// Happens-before: who has seen what.
//
// Every agent of a cluster (a warp, or an asynchronous unit such as the copies that complete on one
// mbarrier) counts its own time. A vector clock says up to which time of every agent an observer
// has seen. An access at time t of agent a happened before the observer's present if clock[a] >= t.
#pragma once

#include <cstdint>
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

// What passes through a barrier, an mbarrier or an atomic variable from those who release to those
// who acquire. `async_clock` is the part that is also visible to the asynchronous proxy (TMA,
// wgmma): what happened before some fence.proxy.async.
struct SyncPoint {
  VectorClock clock;
  VectorClock async_clock;

  void clear() {
    clock.clear();
    async_clock.clear();
  }
};

// Both do nothing unless races are checked.
void release(Warp& warp, SyncPoint& point);  // passes all the warp has seen; advances its own time
void acquire(Warp& warp, const SyncPoint& point);

}  // namespace roofgate::sim
