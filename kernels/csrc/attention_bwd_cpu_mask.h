// Which pairs of a tile of 64 queries by 64 keys see each other, where lanes are keys. Index
// arithmetic only, on top of attention_cpu_mask.h.
#pragma once

#include <stdint.h>

#include "attention_cpu_mask.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

constexpr int kTileQueries = ROOFGATE_PLAN_TILE;
constexpr int kTileKeys = ROOFGATE_PLAN_TILE;

enum class TileKind { kEmpty, kFull, kPartial };

// The mask of one head of one sequence.
class TileMask {
 public:
  TileMask(const roofgate_attention_problem& problem, const Sequence& sequence, int64_t batch,
           int64_t head)
      : problem_(problem),
        sequence_(sequence),
        diagonal_(int64_t{sequence.keys} - sequence.queries) {
    if (problem.plan.tiles == nullptr) return;
    tiles_ = problem.plan.tiles + batch * problem.plan.tiles_stride[0] +
             head * problem.plan.tiles_stride[1];
    tiles_per_row_ = (sequence.keys + kTileKeys - 1) / kTileKeys;
  }

  TileKind kind(int64_t query_tile, int64_t key_tile) const {
    if (tiles_ != nullptr) {
      const int32_t tile = tiles_[query_tile * tiles_per_row_ + key_tile];
      if (tile >= ROOFGATE_TILE_PARTIAL) return TileKind::kPartial;
      return tile == ROOFGATE_TILE_FULL ? TileKind::kFull : TileKind::kEmpty;
    }
    const int64_t first_row = query_tile * kTileQueries;
    const int64_t rows_left = sequence_.queries - first_row;
    const int64_t last_row = first_row + (rows_left < kTileQueries ? rows_left : kTileQueries) - 1;
    // Both ends of a row's keys rise from row to row, by at most one key.
    const KeyRange top = window_of(problem_, sequence_, first_row);
    const KeyRange bottom = window_of(problem_, sequence_, last_row);
    const int64_t first = key_tile * kTileKeys, end = first + kTileKeys;
    if (bottom.end <= first || top.first >= end) return TileKind::kEmpty;
    return bottom.first <= first && top.end >= end ? TileKind::kFull : TileKind::kPartial;
  }

  // Bit k of word q: query q of the tile sees key k. Queries past the end see whatever.
  void words(int64_t query_tile, int64_t key_tile, uint64_t (&words)[kTileQueries]) const {
    if (tiles_ != nullptr) {
      const int64_t number =
          tiles_[query_tile * tiles_per_row_ + key_tile] - int64_t{ROOFGATE_TILE_PARTIAL};
      const uint64_t* const bits = problem_.plan.query_bits + number * kTileQueries;
      for (int row = 0; row < kTileQueries; ++row) words[row] = bits[row];
      return;
    }
    for (int row = 0; row < kTileQueries; ++row) {
      const KeyRange seen = window_of(problem_, sequence_, query_tile * kTileQueries + row);
      const int64_t first = key_tile * kTileKeys;
      words[row] = low_bits(seen.end - first) & ~low_bits(seen.first - first);
    }
  }

  // seqlen_k - seqlen_q: query i stands at key i + diagonal.
  int64_t diagonal() const { return diagonal_; }

 private:
  static uint64_t low_bits(int64_t count) {
    if (count <= 0) return 0;
    return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  }

  const roofgate_attention_problem& problem_;
  const Sequence& sequence_;
  const int64_t diagonal_;
  const int32_t* tiles_ = nullptr;  // [tiles of queries][tiles_per_row_]
  int64_t tiles_per_row_ = 0;
};

}  // namespace
}  // namespace roofgate
