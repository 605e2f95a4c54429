// Which keys the queries of an attention block see: by key tile, by warp and by score.
//
// Query i and key j, counted from the start of their sequence, see one another when
//   -window.left <= j - (i + keys - queries) <= window.right
// and a mask plan adds nothing to that: the two exclude each other.
#pragma once

#include <cstdint>

#include "ptx.cuh"
#include "roofgate_abi.h"

namespace roofgate {

constexpr float kInfinity = __builtin_huge_valf();

// Of one sequence, or of every one in a batch of equals.
struct SequenceLengths {
  int queries;
  int keys;

  // What a query's position must be moved by to be that of its last key under a causal mask.
  __host__ __device__ int shift() const { return keys - queries; }
};

// Never below 0: bounded_window replaces a bound that is taken away by one that hides nothing.
struct Window {
  int left;
  int right;
};

// The window of a problem, whose bounds are -1 where there is none. Bounded by the longest
// sequences, with which it hides as much as before, and no sum of positions leaves 32 bits.
inline Window bounded_window(const roofgate_attention_problem& problem) {
  const auto bounded = [](int32_t bound, int32_t hides_nothing) {
    return bound < 0 || bound > hides_nothing ? hides_nothing : bound;
  };
  return {bounded(problem.window_left, problem.seqlen_k),
          bounded(problem.window_right, problem.seqlen_q)};
}

// Of the key tiles [first, end) some query sees a key, of [full_first, full_end) every query every
// key. No tile of a ragged end is full.
struct KeyTiles {
  int first;
  int full_first;
  int full_end;
  int end;
};

template <int kBlockK>
__device__ __forceinline__ KeyTiles all_key_tiles(int keys) {
  return {0, 0, keys / kBlockK, (keys + kBlockK - 1) / kBlockK};
}

// Those of the queries [first_query, end_query).
template <int kBlockK>
__device__ __forceinline__ KeyTiles window_key_tiles(int first_query, int end_query,
                                                     SequenceLengths lengths, Window window) {
  const int first_diagonal = first_query + lengths.shift();
  const int last_diagonal = end_query - 1 + lengths.shift();
  const int seen_first = max(first_diagonal - window.left, 0);
  const int seen_end = min(last_diagonal + window.right + 1, lengths.keys);
  const int full_first = max(last_diagonal - window.left, 0);
  const int full_end = max(min(first_diagonal + window.right + 1, lengths.keys), 0);
  if (seen_end <= seen_first) return {0, 0, 0, 0};
  return {seen_first / kBlockK, (full_first + kBlockK - 1) / kBlockK, full_end / kBlockK,
          (seen_end + kBlockK - 1) / kBlockK};
}

// What a key tile is to the queries [first_query, end_query): an enum roofgate_tile, without a
// number where it is partial. Without queries it is empty.
template <int kBlockK>
__device__ __forceinline__ int window_tile(int first_key, int first_query, int end_query,
                                           SequenceLengths lengths, Window window) {
  const int first_diagonal = first_query + lengths.shift() - first_key;
  const int last_diagonal = end_query - 1 + lengths.shift() - first_key;
  const int keys = min(lengths.keys - first_key, kBlockK);
  if (end_query <= first_query || first_diagonal - window.left >= keys ||
      last_diagonal + window.right < 0) {
    return ROOFGATE_TILE_EMPTY;
  }
  const bool full = last_diagonal - window.left <= 0 &&
                    first_diagonal + window.right >= kBlockK - 1 && keys == kBlockK;
  return full ? ROOFGATE_TILE_FULL : ROOFGATE_TILE_PARTIAL;
}

// The masks below act on the score fragments of a warp: of each m16n8 tile of scores, a lane holds
// rows lane / 4 (half 0) and lane / 4 + 8 (half 1), and of these the columns 2 * (lane % 4) and its
// right neighbour:
//   scores[row block of 16][key tile of 8][2 * half + column]
// Keys count from the first one of the tile.

// No row sees a key past `last_key`.
template <int kRowBlocks, int kKeyTiles>
__device__ __forceinline__ void hide_keys_past(float (&scores)[kRowBlocks][kKeyTiles][4],
                                               int last_key, int lane) {
  const int lane_last_key = last_key - lane % 4 * 2;
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (tile * 8 + i % 2 <= lane_last_key) continue;
#pragma unroll
      for (int block = 0; block < kRowBlocks; ++block) scores[block][tile][i] = -kInfinity;
    }
  }
}

// A row sees the keys [diagonal - window.left, diagonal + window.right] up to `last_key`;
// `diagonal` is that of the lane's first row, and one more for each row after it.
template <int kRowBlocks, int kKeyTiles>
__device__ __forceinline__ void hide_keys_outside(float (&scores)[kRowBlocks][kKeyTiles][4],
                                                  int diagonal, Window window, int last_key,
                                                  int lane) {
  // Most tiles lie at one side of the window: the compare of the other one is left out.
  const bool cut_left = diagonal - lane / 4 + kRowBlocks * 16 - 1 > window.left;
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row_diagonal = diagonal + block * 16 + half * 8;
      const int last = min(row_diagonal + window.right, last_key) - lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < kKeyTiles * 2; ++i) {
        if (i / 2 * 8 + i % 2 > last) scores[block][i / 2][2 * half + i % 2] = -kInfinity;
      }
      if (cut_left) {
        const int first = row_diagonal - window.left - lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < kKeyTiles * 2; ++i) {
          if (i / 2 * 8 + i % 2 < first) scores[block][i / 2][2 * half + i % 2] = -kInfinity;
        }
      }
    }
  }
}

// Row r sees the keys whose bits are set in word r of the warp's words in shared memory.
template <int kRowBlocks, int kKeyTiles>
__device__ __forceinline__ void hide_keys_by_bits(float (&scores)[kRowBlocks][kKeyTiles][4],
                                                  uint32_t words, int lane) {
  static_assert(kKeyTiles * 8 == ROOFGATE_PLAN_TILE);
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = block * 16 + half * 8 + lane / 4;
      const uint2 word = ptx::load_shared_8(words + row * sizeof(uint64_t));
      const uint32_t lane_bits[2] = {word.x >> (lane % 4 * 2), word.y >> (lane % 4 * 2)};
#pragma unroll
      for (int i = 0; i < kKeyTiles * 2; ++i) {
        const int bit = i / 2 * 8 + i % 2;  // of 64; none is shifted from one half to the other
        if ((lane_bits[bit / 32] >> bit % 32 & 1) == 0) {
          scores[block][i / 2][2 * half + i % 2] = -kInfinity;
        }
      }
    }
  }
}

}  // namespace roofgate
