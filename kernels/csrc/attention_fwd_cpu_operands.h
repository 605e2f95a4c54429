// Query tiles, key tiles, and which keys of the one the rows of the other see: what
// attention_fwd_cpu_tile.h and the AMX kernel do their arithmetic on.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "attention_cpu_mask.h"
#include "attention_cpu_scores.h"
#include "cpu_compiler.h"

namespace roofgate {
// Unnamed, since each instruction set compiles its own copy: attention_fwd_cpu_tile.h says why.
namespace {

// A unit is the 32 bits that one multiply-add takes from each operand: two neighbouring bf16 or one
// fp32. Packed operands are arrays of units; a chunk is eight steps of a multiplication.
constexpr int kChunkSteps = 8;
constexpr int kValueColumns = 16;     // of V that are packed side by side; divides head_dim
constexpr int kTileKeys = kMaskKeys;  // packed at a time
// Longest chain of fp32 additions in a score, in chunks: rounding errors grow with it.
constexpr int kChainChunks = 16;
constexpr float kHeadroom = 8.0f;       // log2
constexpr float kNoReference = -1e30f;  // finite, so that -inf - kNoReference is no NaN

ROOFGATE_INLINE int smaller(int a, int b) { return a < b ? a : b; }
ROOFGATE_INLINE int round_up(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// From products Q K^T, or scores in powers of two where these are more than products times a
// factor, to exponents of two. Positive: a negative scale negates Q instead.
struct Scaling {
  float scale_log2;
  float headroom;  // kHeadroom as a difference of products
};

// Query rows on their way through the keys.
template <class Simd>
struct QueryTile {
  static constexpr int kRows = Simd::kTileVectors * Simd::kLanes;

  alignas(64) float reference[kRows];    // a probability is 2^((Q K^T - reference)
                                         // * scale_log2)
  alignas(64) float offset[kRows];       // reference * scale_log2
  alignas(64) float sum[kRows];          // of the probabilities
  alignas(64) float rounded_sum[kRows];  // of the probabilities as they meet V
  alignas(64) uint32_t seen[kRows];      // not 0 where the row has seen a key
  alignas(64) float diagonal[kRows];     // of ScoreChange, as are the slopes
  alignas(64) float slope_log2[kRows];
  RowMask<kRows> mask;
  const ScoreChange* change;  // null where scores are products times a factor
  int32_t rows;               // in use
  int32_t vectors;            // that hold rows in use
  uint32_t* q;                // [units of head_dim][kRows]
  float* output;              // [head_dim][kRows], not yet normalised
  bool is_loaded;             // the queries
  bool has_output;            // something has been added to it
  bool is_stored;
  int32_t prefetched_queries;  // rows of Q that have been asked for
  int32_t prefetched_outputs;  // rows of O
};

// Keys on their way through the query tiles.
struct KeyTile {
  uint32_t* k;  // [units of head_dim / kChunkSteps][kTileKeys][kChunkSteps]
  uint32_t* v;  // [head_dim / kValueColumns][units of kTileKeys][kValueColumns]
  int64_t first_key;
  const uint16_t* key_rows;  // AMX: [kTileKeys][head_dim rounded up], in `k` or in the tensor
};

// The keys of a tile that a query tile attends to: a multiple of a chunk of units.
template <class Simd>
struct KeySelection {
  int first;
  int end;
  const MaskBits<QueryTile<Simd>::kRows>* bits;  // null where every row sees them all
};

// Sets the scores of a block to -inf where the row does not see the key. `key` counts from the
// start of the key tile.
template <class Simd, int kVectors>
ROOFGATE_NOINLINE void hide_keys(const MaskBits<QueryTile<Simd>::kRows>& bits, int key,
                                 float* scores) {
  const uint32_t* const words = bits.halves[key / 32];
  for (int i = 0; i < Simd::kBlockRows; ++i) {
    for (int column = 0; column < kVectors * Simd::kLanes; column += Simd::kLanes) {
      float* const score = scores + i * QueryTile<Simd>::kRows + column;
      Simd::store(score, Simd::hide_without_bit(Simd::load(score), words + column, key % 32 + i));
    }
  }
}

// Turns the products of a block into scores, as far as a factor alone does not.
template <class Simd, int kVectors>
ROOFGATE_NOINLINE void change_scores(const QueryTile<Simd>& tile, int64_t first_key,
                                     float* scores) {
  const ScoreChange change = *tile.change;
  for (int i = 0; i < Simd::kBlockRows; ++i) {
    for (int column = 0; column < kVectors * Simd::kLanes; column += Simd::kLanes) {
      float* const score = scores + i * QueryTile<Simd>::kRows + column;
      Simd::store(score, change.apply<Simd>(Simd::load(score), tile.diagonal + column,
                                            tile.slope_log2 + column, first_key + i));
    }
  }
}

// Remembers which rows have seen a key.
template <class Simd>
ROOFGATE_INLINE void note_seen(QueryTile<Simd>& tile, const KeySelection<Simd>& keys) {
  for (int row = 0; row < QueryTile<Simd>::kRows; ++row) {
    tile.seen[row] |=
        keys.bits == nullptr ? 1 : keys.bits->halves[0][row] | keys.bits->halves[1][row];
  }
}

// The keys of a key tile that a row of the query tile sees, in whole granules; none where end <=
// first. Writes `bits` where not every row sees them all.
template <class Simd>
ROOFGATE_INLINE KeySelection<Simd> select_keys(const QueryTile<Simd>& tile, int64_t first_key,
                                               int granule,
                                               MaskBits<QueryTile<Simd>::kRows>& bits) {
  switch (tile.mask.look(first_key, bits)) {
    case Visibility::kNone:
      break;
    case Visibility::kSome:
      return {bits.first_key / granule * granule, round_up(bits.end_key, granule), &bits};
    case Visibility::kAll:
      return {0, kTileKeys, nullptr};
  }
  return {0, 0, nullptr};
}

}  // namespace
}  // namespace roofgate
