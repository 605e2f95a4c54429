// The arithmetic of attention on packed tiles, written once for all instruction sets.
//
// A query tile is kTileVectors * kLanes rows (32 with AVX-512); a row is a lane. The scores are
// computed transposed, S^T = K Q^T, a block of kBlockRows keys by all rows of the tile at a time,
// summed in registers: one unit of K is broadcast and multiplied into vectors of Q. The maximum,
// the exponential and the sums then run down the lanes without a horizontal step, and P^T comes out
// in the layout that O^T = V^T P^T wants. Two blocks of scores exist at a time, in the L1 cache.
//
// Maximum: an exact running maximum would rescale O whenever one of 32 rows sees a new one. A row
// keeps its reference until a score exceeds it by a factor of 2^kHeadroom in probability, and only
// then moves it to the new maximum; by then what was accumulated has lost its weight.
//
// Sums: bf16 probabilities are rounded before they meet V. O is divided by the sum of the rounded
// ones, so that a row that one key dominates is exact; the log-sum-exp takes the unrounded ones.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "attention_fwd_cpu_operands.h"
#include "cpu_compiler.h"

namespace roofgate {
// Unnamed, since each instruction set compiles its own copy with its own flags; the standard
// library's inline functions are avoided for the same reason: the linker keeps one copy of those,
// and must not hand wide instructions to the portable kernel.
namespace {

template <class Simd>
ROOFGATE_INLINE void add_to_memory(float* memory, typename Simd::Vector addend) {
  Simd::store(memory, Simd::add(Simd::load(memory), addend));
}

template <class Simd>
ROOFGATE_INLINE void scale_memory(float* memory, typename Simd::Vector factor) {
  Simd::store(memory, Simd::multiply(Simd::load(memory), factor));
}

// Moves the references of a vector of rows whose `maximum` exceeds them by more than kHeadroom and
// rescales the sums and the output that were accumulated under the old ones. Returns the factors.
template <class Simd>
ROOFGATE_NOINLINE typename Simd::Vector rescale_rows(QueryTile<Simd>& tile, int column,
                                                     typename Simd::Vector maximum,
                                                     const Scaling& scaling, int head_dim) {
  using Vector = typename Simd::Vector;
  constexpr int kRows = QueryTile<Simd>::kRows;
  const Vector before = Simd::load(tile.reference + column);
  const Vector limit = Simd::add(before, Simd::broadcast(scaling.headroom));
  const Vector after = Simd::select_greater(maximum, limit, maximum, before);
  const Vector scale = Simd::broadcast(scaling.scale_log2);
  const Vector factor = Simd::exp2(Simd::multiply(Simd::subtract(before, after), scale));
  Simd::store(tile.reference + column, after);
  Simd::store(tile.offset + column, Simd::multiply(after, scale));
  scale_memory<Simd>(tile.sum + column, factor);
  scale_memory<Simd>(tile.rounded_sum + column, factor);
  // Before its first key a row has no output yet; a window starts so for each tile of rows.
  if (!Simd::any_greater(before, Simd::broadcast(kNoReference))) return factor;
  for (int d = 0; d < head_dim; ++d) {
    scale_memory<Simd>(tile.output + static_cast<ptrdiff_t>(d) * kRows + column, factor);
  }
  return factor;
}

// The same for the maximum of a block of scores, and for the first `units` rows of the
// probabilities.
template <class Simd>
ROOFGATE_NOINLINE void raise_references(QueryTile<Simd>& tile, int column, const Scaling& scaling,
                                        const float* scores, int head_dim, uint32_t* probabilities,
                                        int units) {
  using Vector = typename Simd::Vector;
  constexpr int kRows = QueryTile<Simd>::kRows;
  Vector maximum = Simd::load(scores + column);
  for (int i = 1; i < Simd::kBlockRows; ++i) {
    maximum = Simd::maximum(maximum, Simd::load(scores + i * kRows + column));
  }
  const Vector factor = rescale_rows<Simd>(tile, column, maximum, scaling, head_dim);
  for (int unit = 0; unit < units; ++unit) {
    Simd::scale_probabilities(probabilities + unit * kRows + column, factor);
  }
}

// The softmax of one block of scores, in steps that multiply_block runs between its own: the two
// use different ports, but one after the other they hardly overlap, since a scheduler full of
// multiply-adds holds back whatever follows.
template <class Simd, int kVectors>
class BlockSoftmax {
 public:
  // `probabilities` are those of the block: [kUnits][kRows].
  BlockSoftmax(QueryTile<Simd>& tile, float scale_log2, const float* scores,
               uint32_t* probabilities)
      : tile_(tile), scale_log2_(scale_log2), scores_(scores), probabilities_(probabilities) {
    for (int column = 0; column < kVectors * Simd::kLanes; column += Simd::kLanes) clear(column);
  }

  // How many chunks of a multiplication can still take its steps along.
  ROOFGATE_INLINE int chunks_left() const { return kUnits - next_unit_; }
  ROOFGATE_INLINE void run_step(int step) {
    constexpr int kStepsPerVector = kChunkSteps / kVectors;
    if ((step + 1) % kStepsPerVector != 0) return;
    run_vector<false>(next_unit_, step / kStepsPerVector * Simd::kLanes);
    if (step + 1 == kChunkSteps) ++next_unit_;
  }

  // Does the steps that are left and adds the probabilities to the sums of the tile. `units` rows
  // of probabilities stand before those of the block.
  void finish(const Scaling& scaling, int head_dim, int units) {
    for (; next_unit_ < kUnits; ++next_unit_) {
      ROOFGATE_UNROLL
      for (int j = 0; j < kVectors; ++j) run_vector<false>(next_unit_, j * Simd::kLanes);
    }
    for (int column = 0; column < kVectors * Simd::kLanes; column += Simd::kLanes) {
      const auto headroom = Simd::broadcast(kHeadroom);
      if (__builtin_expect(Simd::any_greater(Simd::load(highest_ + column), headroom), 0)) {
        raise_references(tile_, column, scaling, scores_, head_dim,
                         probabilities_ - units * QueryTile<Simd>::kRows, units);
        repeat(column);
      }
      add_to_memory<Simd>(tile_.sum + column, Simd::load(sum_ + column));
      add_to_memory<Simd>(tile_.rounded_sum + column, Simd::load(rounded_sum_ + column));
    }
  }

 private:
  static constexpr int kRows = QueryTile<Simd>::kRows;
  static constexpr int kUnits = Simd::kBlockRows / Simd::kElementsPerUnit;

  ROOFGATE_INLINE void clear(int column) {
    const auto zero = Simd::broadcast(0.0f);
    Simd::store(sum_ + column, zero);
    Simd::store(rounded_sum_ + column, zero);
    Simd::store(highest_ + column, zero);
  }

  // kClamped cuts exponents down to kHeadroom: beyond, exp2 is undefined.
  template <bool kClamped>
  ROOFGATE_INLINE void run_vector(int unit, int column) {
    using Vector = typename Simd::Vector;
    const Vector scale = Simd::broadcast(scale_log2_);
    const Vector reference = Simd::load(tile_.reference + column);
    const Vector offset = Simd::load(tile_.offset + column);
    Vector highest = Simd::load(highest_ + column);
    Vector sum = Simd::load(sum_ + column);
    Vector exponentials[Simd::kElementsPerUnit];
    ROOFGATE_UNROLL
    for (int e = 0; e < Simd::kElementsPerUnit; ++e) {
      const int key = unit * Simd::kElementsPerUnit + e;
      const Vector score = Simd::load(scores_ + key * kRows + column);
      Vector exponent = Simd::exponent(score, reference, offset, scale);
      if (kClamped) exponent = Simd::minimum(Simd::broadcast(kHeadroom), exponent);
      highest = Simd::maximum_if_positive(highest, exponent);
      exponentials[e] = Simd::exp2(exponent);
      sum = Simd::add(sum, exponentials[e]);
    }
    Simd::store(highest_ + column, highest);
    Simd::store(sum_ + column, sum);
    Simd::store(rounded_sum_ + column,
                Simd::store_unit(probabilities_ + unit * kRows + column, exponentials,
                                 Simd::load(rounded_sum_ + column)));
  }

  ROOFGATE_NOINLINE void repeat(int column) {
    clear(column);
    for (int unit = 0; unit < kUnits; ++unit) run_vector<true>(unit, column);
  }

  QueryTile<Simd>& tile_;
  const float scale_log2_;
  const float* const scores_;      // [kBlockRows][kRows]
  uint32_t* const probabilities_;  // [kUnits][kRows]
  int next_unit_ = 0;
  alignas(64) float sum_[kRows];
  alignas(64) float rounded_sum_[kRows];
  alignas(64) float highest_[kRows];  // exponent, where positive
};

struct NoSoftmax {
  ROOFGATE_INLINE int chunks_left() const { return 0; }
  ROOFGATE_INLINE void run_step(int) {}
};

// C = A B, or C += A B, for kBlockRows rows and kVectors vectors of columns. Unit (i, step) of A
// lies at i * kRowStride + step * kStepStride within its chunk; chunks lie a_chunk_stride apart. B
// is [steps][QueryTile::kRows] units, C is [kBlockRows][QueryTile::kRows]. Kept out of line: beside
// other code the compiler would spill sums in the inner loop.
template <class Simd, int kVectors, int kRowStride, int kStepStride, class Softmax>
ROOFGATE_NOINLINE void multiply_block(const uint32_t* a, ptrdiff_t a_chunk_stride,
                                      const uint32_t* b, int chunks, float* c, bool accumulate,
                                      Softmax& softmax) {
  using Vector = typename Simd::Vector;
  constexpr int kRows = QueryTile<Simd>::kRows;
  // One vector alone has too few sums to hide the latency: odd steps get sums of their own.
  constexpr int kSets = kVectors == 1 ? 2 : 1;
  Vector sums[kSets][Simd::kBlockRows][kVectors] = {};
  const auto run_step = [&](int step) __attribute__((always_inline)) {
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
  };
  const int shared_chunks = smaller(chunks, softmax.chunks_left());
  int chunk = 0;
  for (; chunk < shared_chunks; ++chunk) {
    ROOFGATE_UNROLL
    for (int step = 0; step < kChunkSteps; ++step) {
      run_step(step);
      softmax.run_step(step);
    }
    a += a_chunk_stride;
    b += kChunkSteps * kRows;
  }
  for (; chunk < chunks; ++chunk) {
    ROOFGATE_UNROLL
    for (int step = 0; step < kChunkSteps; ++step) run_step(step);
    a += a_chunk_stride;
    b += kChunkSteps * kRows;
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

// scores [kBlockRows][kRows] = K Q^T for keys [key, key + kBlockRows) of the tile.
template <class Simd, int kVectors, class Softmax>
ROOFGATE_INLINE void compute_scores(const QueryTile<Simd>& tile, const KeyTile& key_tile, int key,
                                    int head_dim, float* scores, Softmax& softmax) {
  constexpr int kChunkStride = kTileKeys * kChunkSteps;
  const int chunks = head_dim / Simd::kElementsPerUnit / kChunkSteps;
  for (int chunk = 0; chunk < chunks; chunk += kChainChunks) {
    multiply_block<Simd, kVectors, kChunkSteps, 1>(
        key_tile.k + key * kChunkSteps + chunk * kChunkStride, kChunkStride,
        tile.q + chunk * kChunkSteps * QueryTile<Simd>::kRows,
        smaller(chunks - chunk, kChainChunks), scores, chunk > 0, softmax);
  }
}

// The probabilities of the selected keys. The softmax of a block runs beside the multiplication for
// the next one.
template <class Simd, int kVectors>
void compute_probabilities(QueryTile<Simd>& tile, const KeyTile& key_tile,
                           const KeySelection<Simd>& keys, int head_dim, const Scaling& scaling,
                           uint32_t* probabilities) {
  alignas(64) float scores[2][Simd::kBlockRows * QueryTile<Simd>::kRows];
  float* current = scores[0];
  float* next = scores[1];
  NoSoftmax none;
  compute_scores<Simd, kVectors>(tile, key_tile, keys.first, head_dim, current, none);
  for (int key = keys.first; key < keys.end; key += Simd::kBlockRows) {
    if (tile.change != nullptr) {
      change_scores<Simd, kVectors>(tile, key_tile.first_key + key, current);
    }
    if (keys.bits != nullptr) hide_keys<Simd, kVectors>(*keys.bits, key, current);
    const int units = (key - keys.first) / Simd::kElementsPerUnit;
    BlockSoftmax<Simd, kVectors> softmax(tile, scaling.scale_log2, current,
                                         probabilities + units * QueryTile<Simd>::kRows);
    if (key + Simd::kBlockRows < keys.end) {
      compute_scores<Simd, kVectors>(tile, key_tile, key + Simd::kBlockRows, head_dim, next,
                                     softmax);
    }
    softmax.finish(scaling, head_dim, units);
    float* const done = current;
    current = next;
    next = done;
  }
}

// O^T += V^T P^T over the selected keys.
template <class Simd, int kVectors>
void accumulate_output(QueryTile<Simd>& tile, const KeyTile& key_tile,
                       const KeySelection<Simd>& keys, int head_dim,
                       const uint32_t* probabilities) {
  constexpr int kTileUnits = kTileKeys / Simd::kElementsPerUnit;
  const int chunks = (keys.end - keys.first) / Simd::kElementsPerUnit / kChunkSteps;
  const uint32_t* const first = key_tile.v + keys.first / Simd::kElementsPerUnit * kValueColumns;
  NoSoftmax none;
  for (int d = 0; d < head_dim; d += Simd::kBlockRows) {
    const uint32_t* const values =
        first + d / kValueColumns * (kTileUnits * kValueColumns) + d % kValueColumns;
    multiply_block<Simd, kVectors, 1, kValueColumns>(
        values, kChunkSteps * kValueColumns, probabilities, chunks,
        tile.output + static_cast<ptrdiff_t>(d) * QueryTile<Simd>::kRows, true, none);
  }
}

template <class Simd, int kVectors>
void attend_vectors(QueryTile<Simd>& tile, const KeyTile& key_tile, const KeySelection<Simd>& keys,
                    int head_dim, const Scaling& scaling, uint32_t* probabilities) {
  compute_probabilities<Simd, kVectors>(tile, key_tile, keys, head_dim, scaling, probabilities);
  accumulate_output<Simd, kVectors>(tile, key_tile, keys, head_dim, probabilities);
}

// Takes a query tile through the keys of a key tile that any of its rows sees.
template <class Simd>
void attend(QueryTile<Simd>& tile, const KeyTile& key_tile, int head_dim, const Scaling& scaling,
            uint32_t* probabilities) {
  MaskBits<QueryTile<Simd>::kRows> bits;
  const KeySelection<Simd> keys =
      select_keys(tile, key_tile.first_key, kChunkSteps * Simd::kElementsPerUnit, bits);
  if (keys.first >= keys.end) return;
  note_seen(tile, keys);
  static_assert(Simd::kTileVectors == 2, "both widths are instantiated here");
  if (tile.vectors == 2) {
    attend_vectors<Simd, 2>(tile, key_tile, keys, head_dim, scaling, probabilities);
  } else {
    attend_vectors<Simd, 1>(tile, key_tile, keys, head_dim, scaling, probabilities);
  }
}

}  // namespace
}  // namespace roofgate
