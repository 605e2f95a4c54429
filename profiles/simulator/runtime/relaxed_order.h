// .relaxed arrivals and waits: by themselves they order nothing, but with fences they do.
#pragma once

#include "warp.h"

namespace roofgate::sim {

inline void join(SyncPoint& point, const SyncPoint& other) {
  point.clock.join(other.clock);
  point.async_clock.join(other.async_clock);
  join(point.remote, other.remote);
}

// Passes on what the warp's last fence released.
inline void relaxed_release(const Warp& warp, SyncPoint& point) {
  join(point, warp.fences.released);
}

// The warp's next fence acquires it.
inline void relaxed_acquire(Warp& warp, const SyncPoint& point) {
  join(warp.fences.pending, point);
}

}  // namespace roofgate::sim
