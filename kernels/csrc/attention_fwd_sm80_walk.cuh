// The way of a thread block over the key tiles of its queries, where it is not known beforehand.
#pragma once

#include <cstdint>

#include "roofgate_abi.h"

namespace roofgate {

// A key tile as a warp sees it. `kind` is an enum roofgate_tile with the number of a partial tile.
struct KeyTile {
  int index;  // negative: there is none
  int kind;
};

// What one tile is to the queries of the lane's warp, and to the other half of the block.
struct TilesOfLane {
  int own;
  int other;
};

// Goes from the last tile to the first: over a range, or over those tiles of a plan that are not
// empty for every query of the block. Of a plan 32 tiles are read at a time, one by each lane, so
// that empty ones cost a few instructions per 32. Every warp reads for itself, so that they need no
// barrier to agree.
class TileWalk {
 public:
  static __device__ TileWalk over_range(int first, int end) { return {first, end}; }

  static __device__ TileWalk over_plan(int tiles) { return {0, (tiles + 31) / 32 * 32}; }

  TileWalk() = default;

  // Its kind is left to the caller.
  __device__ __forceinline__ KeyTile next_of_range() {
    if (end_ <= first_) return {-1, ROOFGATE_TILE_EMPTY};
    return {--end_, ROOFGATE_TILE_PARTIAL};
  }

  // `read(tile)` returns the TilesOfLane of a tile, both empty past the last one. Called by all
  // lanes of the warp together.
  template <class Read>
  __device__ __forceinline__ KeyTile next_of_plan(const Read& read) {
    while (found_ == 0) {
      if (end_ == 0) return {-1, ROOFGATE_TILE_EMPTY};
      end_ -= 32;
      const TilesOfLane tiles = read(end_ + static_cast<int>(threadIdx.x % 32));
      kind_ = tiles.own;
      found_ = __ballot_sync(0xffffffffu, (tiles.own | tiles.other) != ROOFGATE_TILE_EMPTY);
    }
    const int lane = 31 - __clz(found_);
    found_ ^= 1u << lane;
    return {end_ + lane, __shfl_sync(0xffffffffu, kind_, lane)};
  }

 private:
  __device__ TileWalk(int first, int end) : first_(first), end_(end) {}

  int first_ = 0;       // of a range
  int end_ = 0;         // all tiles from here on have been read
  uint32_t found_ = 0;  // of the 32 that were read last, those still to be visited
  int kind_ = 0;        // of tile end_ + lane, to the warp's own queries
};

}  // namespace roofgate
