// The arithmetic of attention on packed tiles, written once for all instruction sets.
//
// A query tile is kTileVectors * kLanes rows (48 with AVX-512); a row is a lane. The scores are
// computed transposed, S^T = K Q^T, a block of kBlockRows keys by all rows of the tile at a time
// and in registers: one unit of K is broadcast and multiplied into vectors of Q. The maximum, the
// exponential and the sums then run down the lanes without a horizontal step, and P^T leaves the
// softmax in the layout that O^T = V^T P^T wants. Only one block of scores exists at a time.
//
// Maximum: exact running maxima would rescale O whenever one of 48 rows sees a new one. A row keeps
// its reference until a score exceeds it by 2^kHeadroom, and only then moves it to the new maximum;
// by then what was accumulated has lost its weight, and so has the rounding of the rescaling.
//
// Sums: bf16 probabilities are rounded before they meet V. O is divided by the sum of the rounded
// ones, so that a row that one key dominates is exact; the log-sum-exp takes the unrounded ones.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#define ROOFGATE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ROOFGATE_UNROLL _Pragma("GCC unroll 16")
#endif
#define ROOFGATE_INLINE inline __attribute__((always_inline))

namespace roofgate {
// Unnamed, since each instruction set compiles its own copy with its own flags; the standard
// library's inline functions are avoided for the same reason: the linker keeps one copy of those,
// and must not hand wide instructions to the portable kernel.
namespace {

// A unit is the 32 bits that one multiply-add takes from each operand: two neighbouring bf16 or one
// fp32. Packed operands are arrays of units, eight to a chunk.
constexpr int kUnitsPerChunk = 8;
constexpr int kTileKeys = 64;  // keys packed at a time
// Longest chain of fp32 additions in a score: rounding errors grow with it.
constexpr int kChainChunks = 16;
constexpr float kHeadroom = 8.0f;       // log2
constexpr float kNoReference = -1e30f;  // finite, so that -inf - kNoReference is no NaN

ROOFGATE_INLINE int smaller(int a, int b) { return a < b ? a : b; }
ROOFGATE_INLINE int round_up(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// From products Q K^T to exponents of two. Positive: a negative scale negates Q instead.
struct Scaling {
  float scale_log2;
  float headroom;  // kHeadroom, in products
};

// Query rows on their way through the keys.
template <class Simd>
struct QueryTile {
  static constexpr int kRows = Simd::kTileVectors * Simd::kLanes;

  alignas(64) float reference[kRows];    // a probability is 2^((Q K^T - reference) * scale_log2)
  alignas(64) float sum[kRows];          // of the probabilities
  alignas(64) float rounded_sum[kRows];  // of the probabilities as they meet V
  alignas(64) int32_t last_key[kRows];   // that the row sees; below 0: none
  int32_t min_last_key;                  // over the rows in use
  int32_t max_last_key;
  int32_t rows;     // in use
  int32_t vectors;  // that hold rows in use
  uint32_t* q;      // [units of head_dim][kRows]
  float* output;    // [head_dim][kRows], not yet normalised
};

// Keys on their way through the query tiles.
struct KeyTile {
  uint32_t* k;  // [chunks of head_dim][kTileKeys][kUnitsPerChunk]
  uint32_t* v;  // [head_dim / kUnitsPerChunk][units of kTileKeys][kUnitsPerChunk]
  int32_t first_key;
  int32_t keys;
};

template <class Simd>
ROOFGATE_INLINE void scale_vector(float* memory, typename Simd::Vector factor) {
  Simd::store(memory, Simd::multiply(Simd::load(memory), factor));
}

template <class Simd>
ROOFGATE_INLINE void add_vector(float* memory, typename Simd::Vector addend) {
  Simd::store(memory, Simd::add(Simd::load(memory), addend));
}

// Moves the references that `maxima` [kRows] exceeds by more than kHeadroom and rescales what was
// accumulated under the old ones: sums, output and the first `units` rows of the probabilities.
template <class Simd>
__attribute__((noinline)) void raise_references(QueryTile<Simd>& tile, const float* maxima,
                                                const Scaling& scaling, int head_dim,
                                                uint32_t* probabilities, int units) {
  using Vector = typename Simd::Vector;
  constexpr int kRows = QueryTile<Simd>::kRows;
  for (int column = 0; column < tile.vectors * Simd::kLanes; column += Simd::kLanes) {
    const Vector before = Simd::load(tile.reference + column);
    const Vector maximum = Simd::load(maxima + column);
    const Vector limit = Simd::add(before, Simd::broadcast(scaling.headroom));
    const Vector after = Simd::select_greater(maximum, limit, maximum, before);
    const Vector factor = Simd::exp2(
        Simd::multiply(Simd::subtract(before, after), Simd::broadcast(scaling.scale_log2)));
    Simd::store(tile.reference + column, after);
    scale_vector<Simd>(tile.sum + column, factor);
    scale_vector<Simd>(tile.rounded_sum + column, factor);
    for (int d = 0; d < head_dim; ++d) {
      scale_vector<Simd>(tile.output + static_cast<ptrdiff_t>(d) * kRows + column, factor);
    }
    for (int unit = 0; unit < units; ++unit) {
      Simd::scale_probabilities(probabilities + unit * kRows + column, factor);
    }
  }
}

// Sets scores to -inf where the row does not see the key.
template <class Simd, int kVectors>
__attribute__((noinline)) void hide_keys(const QueryTile<Simd>& tile, int32_t first_key,
                                         float* scores) {
  for (int i = 0; i < Simd::kBlockRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      const int column = j * Simd::kLanes;
      float* const score = scores + i * QueryTile<Simd>::kRows + column;
      Simd::store(score,
                  Simd::hide_after(Simd::load(score), tile.last_key + column, first_key + i));
    }
  }
}

// Whether a score exceeds its row's reference by more than kHeadroom. Fills `maxima` [kRows].
template <class Simd, int kVectors>
ROOFGATE_INLINE bool exceeds_reference(const QueryTile<Simd>& tile, const Scaling& scaling,
                                       const float* scores, float* maxima) {
  using Vector = typename Simd::Vector;
  bool exceeds = false;
  ROOFGATE_UNROLL
  for (int j = 0; j < kVectors; ++j) {
    const int column = j * Simd::kLanes;
    Vector maximum = Simd::load(scores + column);
    ROOFGATE_UNROLL
    for (int i = 1; i < Simd::kBlockRows; ++i) {
      maximum = Simd::maximum(maximum, Simd::load(scores + i * QueryTile<Simd>::kRows + column));
    }
    Simd::store(maxima + column, maximum);
    const Vector reference = Simd::load(tile.reference + column);
    exceeds |= Simd::any_greater(maximum, Simd::add(reference, Simd::broadcast(scaling.headroom)));
  }
  return exceeds;
}

// Turns a block of scores into probabilities and adds them to the sums.
template <class Simd, int kVectors>
__attribute__((noinline)) void store_probabilities(QueryTile<Simd>& tile, float scale_log2,
                                                   const float* scores, uint32_t* probabilities) {
  using Vector = typename Simd::Vector;
  constexpr int kRows = QueryTile<Simd>::kRows;
  const Vector scale = Simd::broadcast(scale_log2);
  for (int column = 0; column < kVectors * Simd::kLanes; column += Simd::kLanes) {
    const Vector reference = Simd::load(tile.reference + column);
    Vector sum = {};
    Vector rounded_sum = {};
    ROOFGATE_UNROLL
    for (int i = 0; i < Simd::kBlockRows; i += Simd::kElementsPerUnit) {
      Vector exponentials[Simd::kElementsPerUnit];
      ROOFGATE_UNROLL
      for (int e = 0; e < Simd::kElementsPerUnit; ++e) {
        const Vector score = Simd::load(scores + (i + e) * kRows + column);
        const Vector distance = Simd::subtract(score, reference);
        exponentials[e] = Simd::exp2(Simd::multiply(distance, scale));
        sum = Simd::add(sum, exponentials[e]);
      }
      rounded_sum = Simd::store_unit(probabilities + i / Simd::kElementsPerUnit * kRows + column,
                                     exponentials, rounded_sum);
    }
    add_vector<Simd>(tile.sum + column, sum);
    add_vector<Simd>(tile.rounded_sum + column, rounded_sum);
  }
}

// C = A B, or C += A B, for kBlockRows rows and kVectors vectors of columns. Unit (i, step) of A
// lies at i * kRowStride + step * kStepStride within its chunk. B is [steps][QueryTile::kRows]
// units and C is [kBlockRows][QueryTile::kRows]. Kept out of line: inlined beside the softmax, the
// compiler spills sums in the inner loop.
// After each chunk runs a slice of `beside`: other work, whose instructions use other ports and
// fill the gaps of this one.
template <class Simd, int kVectors, int kRowStride, int kStepStride>
__attribute__((noinline)) void multiply_block(const uint32_t* a, ptrdiff_t a_chunk_stride,
                                              const uint32_t* b, int chunks, float* c,
                                              bool accumulate) {
  using Vector = typename Simd::Vector;
  constexpr int kRows = QueryTile<Simd>::kRows;
  // One vector alone has too few sums to hide the latency: odd steps get sums of their own.
  constexpr int kSets = kVectors == 1 ? 2 : 1;
  Vector sums[kSets][Simd::kBlockRows][kVectors] = {};
  for (int chunk = 0; chunk < chunks; ++chunk) {
    ROOFGATE_UNROLL
    for (int step = 0; step < kUnitsPerChunk; ++step) {
      typename Simd::Operand rows[kVectors];
      ROOFGATE_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        rows[j] = Simd::load_operand(b + step * kRows + j * Simd::kLanes);
      }
      ROOFGATE_UNROLL
      for (int i = 0; i < Simd::kBlockRows; ++i) {
        const auto unit = Simd::broadcast_operand(a + i * kRowStride + step * kStepStride);
        ROOFGATE_UNROLL
        for (int j = 0; j < kVectors; ++j) {
          Vector& sum = sums[step % kSets][i][j];
          sum = Simd::multiply_add(sum, unit, rows[j]);
        }
      }
    }
    a += a_chunk_stride;
    b += kUnitsPerChunk * kRows;
  }
  ROOFGATE_UNROLL
  for (int i = 0; i < Simd::kBlockRows; ++i) {
    ROOFGATE_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      float* const out = c + i * kRows + j * Simd::kLanes;
      Vector sum = sums[0][i][j];
      if (kSets == 2) sum = Simd::add(sum, sums[kSets - 1][i][j]);
      Simd::store(out, accumulate ? Simd::add(sum, Simd::load(out)) : sum);
    }
  }
}

// scores = K Q^T for keys [key, key + kBlockRows) of the tile.
template <class Simd, int kVectors>
ROOFGATE_INLINE void compute_scores(const QueryTile<Simd>& tile, const KeyTile& key_tile, int key,
                                    int head_dim, float* scores) {
  constexpr int kChunkStride = kTileKeys * kUnitsPerChunk;
  const int chunks = head_dim / Simd::kElementsPerUnit / kUnitsPerChunk;
  for (int chunk = 0; chunk < chunks; chunk += kChainChunks) {
    multiply_block<Simd, kVectors, kUnitsPerChunk, 1>(
        key_tile.k + key * kUnitsPerChunk + chunk * kChunkStride, kChunkStride,
        tile.q + chunk * kUnitsPerChunk * QueryTile<Simd>::kRows,
        smaller(chunks - chunk, kChainChunks), scores, chunk > 0);
  }
}

// probabilities [units of keys][kRows] for the first `keys` keys of the tile, a multiple of a chunk
// of units.
// The softmax of a block runs beside the multiplication for the next one.
template <class Simd, int kVectors>
void compute_probabilities(QueryTile<Simd>& tile, const KeyTile& key_tile, int keys, int head_dim,
                           const Scaling& scaling, uint32_t* probabilities) {
  constexpr int kRows = QueryTile<Simd>::kRows;
  alignas(64) float scores[2][Simd::kBlockRows * kRows];
  alignas(64) float maxima[kRows];
  compute_scores<Simd, kVectors>(tile, key_tile, 0, head_dim, scores[0]);
  for (int key = 0; key < keys; key += Simd::kBlockRows) {
    const int block = key / Simd::kBlockRows;
    float* const current = scores[block % 2];
    const int unit = key / Simd::kElementsPerUnit;
    const int32_t first_key = key_tile.first_key + key;
    if (first_key + (Simd::kBlockRows - 1) > tile.min_last_key) {
      hide_keys<Simd, kVectors>(tile, first_key, current);
    }
    if (exceeds_reference<Simd, kVectors>(tile, scaling, current, maxima)) {
      raise_references(tile, maxima, scaling, head_dim, probabilities, unit);
    }
    if (key + Simd::kBlockRows < keys) {
      compute_scores<Simd, kVectors>(tile, key_tile, key + Simd::kBlockRows, head_dim,
                                     scores[(block + 1) % 2]);
    }
    store_probabilities<Simd, kVectors>(tile, scaling.scale_log2, current,
                                        probabilities + unit * kRows);
  }
}

// O^T += V^T P^T over the first `keys` keys of the tile.
template <class Simd, int kVectors>
void accumulate_output(QueryTile<Simd>& tile, const KeyTile& key_tile, int keys, int head_dim,
                       const uint32_t* probabilities) {
  constexpr int kTileUnits = kTileKeys / Simd::kElementsPerUnit;
  const int chunks = keys / Simd::kElementsPerUnit / kUnitsPerChunk;
  for (int d = 0; d < head_dim; d += Simd::kBlockRows) {
    const uint32_t* const values =
        key_tile.v + d / kUnitsPerChunk * (kTileUnits * kUnitsPerChunk) + d % kUnitsPerChunk;
    multiply_block<Simd, kVectors, 1, kUnitsPerChunk>(
        values, kUnitsPerChunk * kUnitsPerChunk, probabilities, chunks,
        tile.output + static_cast<ptrdiff_t>(d) * QueryTile<Simd>::kRows, true);
  }
}

template <class Simd, int kVectors>
void attend_vectors(QueryTile<Simd>& tile, const KeyTile& key_tile, int keys, int head_dim,
                    const Scaling& scaling, uint32_t* probabilities) {
  compute_probabilities<Simd, kVectors>(tile, key_tile, keys, head_dim, scaling, probabilities);
  accumulate_output<Simd, kVectors>(tile, key_tile, keys, head_dim, probabilities);
}

// Takes a query tile through the keys of a key tile that any of its rows sees.
template <class Simd>
void attend(QueryTile<Simd>& tile, const KeyTile& key_tile, int head_dim, const Scaling& scaling,
            uint32_t* probabilities) {
  const int64_t visible = int64_t{tile.max_last_key} + 1 - key_tile.first_key;
  if (visible <= 0) return;
  const int seen = visible < key_tile.keys ? static_cast<int>(visible) : key_tile.keys;
  const int keys = round_up(seen, kUnitsPerChunk * Simd::kElementsPerUnit);
  static_assert(Simd::kTileVectors == 2 || Simd::kTileVectors == 3, "instantiated below");
  if (tile.vectors == Simd::kTileVectors) {
    attend_vectors<Simd, Simd::kTileVectors>(tile, key_tile, keys, head_dim, scaling,
                                             probabilities);
  } else if (tile.vectors == 1) {
    attend_vectors<Simd, 1>(tile, key_tile, keys, head_dim, scaling, probabilities);
  } else {
    attend_vectors<Simd, 2>(tile, key_tile, keys, head_dim, scaling, probabilities);
  }
}

}  // namespace
}  // namespace roofgate
