// The arithmetic of the attention backward on vectors, for all instruction sets but tiles.
//
// An engine holds the operands of one item and sums dQ of a query tile and dK, dV of a chunk:
//   begin(), end()                  around the item
//   load_keys(tile, k, v)           packs 64 keys and clears their dK and dV
//   load_queries(q, d_o)            packs up to 64 queries and clears their dQ
//   attend(tile, scores, prefetch)  adds what the pairs of the loaded queries and those keys give
//   finish_queries()                before dq is read
//   flush(), then finish_keys(tile) before dk and dv are read
//   dq(row, d), dk(tile, key, d), dv(tile, key, d): 16 sums from element d on
//
// Rows are queries and lanes are keys. A unit is the 32 bits that one multiply-add takes from each
// operand: two neighbouring bf16, or one fp32. Operands whose units run along head_dim or keys are
// as the tensors have them; those whose units run along rows ("pairs") are interleaved, and K and V
// of the scores are transposed, once per chunk.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "attention_bwd_cpu_item.h"
#include "attention_bwd_cpu_scores.h"
#include "attention_cpu_elements.h"
#include "attention_cpu_vectors.h"
#include "cpu_compiler.h"

namespace roofgate {
namespace {

// The left operand of a product: unit (i, step), rows by steps.
struct RowMajor {
  const uint32_t* first;
  ptrdiff_t stride;
  ROOFGATE_INLINE const uint32_t* unit(int i, int step) const { return first + i * stride + step; }
  ROOFGATE_INLINE RowMajor from(int i) const { return {first + i * stride, stride}; }
};
struct ColumnMajor {
  const uint32_t* first;
  ptrdiff_t stride;
  ROOFGATE_INLINE const uint32_t* unit(int i, int step) const { return first + step * stride + i; }
  ROOFGATE_INLINE ColumnMajor from(int i) const { return {first + i, stride}; }
};

// C = A B, or C += A B, for kBlockRows rows and kVectors vectors of columns. B is [steps] rows of
// units b_stride apart. Out of line: beside other code the compiler would spill sums.
template <class Simd, int kVectors, bool kAccumulate, class Left>
ROOFGATE_NOINLINE void multiply_block(Left a, const uint32_t* b, ptrdiff_t b_stride, int steps,
                                      float* c, ptrdiff_t c_stride) {
  typename Simd::Vector sums[Simd::kBlockRows][kVectors] = {};
  for (int step = 0; step < steps; ++step, b += b_stride) {
    typename Simd::Operand right[kVectors];
    ROOFGATE_UNROLL
    for (int j = 0; j < kVectors; ++j) right[j] = Simd::load_operand(b + j * Simd::kLanes);
    ROOFGATE_UNROLL
    for (int i = 0; i < Simd::kBlockRows; ++i) {
      const auto left = Simd::broadcast_operand(a.unit(i, step));
      ROOFGATE_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        sums[i][j] = Simd::multiply_add(sums[i][j], left, right[j]);
      }
    }
  }
  ROOFGATE_UNROLL
  for (int i = 0; i < Simd::kBlockRows; ++i) {
    ROOFGATE_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      float* const out = c + i * c_stride + j * Simd::kLanes;
      Simd::store(out, kAccumulate ? Simd::load(out) + sums[i][j] : sums[i][j]);
    }
  }
}

// The same for kBlockRows rows and any number of columns that is a multiple of the lanes.
template <class Simd, bool kAccumulate, class Left>
void multiply_rows(Left a, const uint32_t* b, ptrdiff_t b_stride, int steps, float* c,
                   ptrdiff_t c_stride, int columns) {
  constexpr int kPair = 2 * Simd::kLanes;
  int column = 0;
  for (; column + kPair <= columns; column += kPair) {
    multiply_block<Simd, 2, kAccumulate>(a, b + column, b_stride, steps, c + column, c_stride);
  }
  if (column < columns) {
    multiply_block<Simd, 1, kAccumulate>(a, b + column, b_stride, steps, c + column, c_stride);
  }
}

template <class Simd, class TensorElement>
class VectorEngine {
 public:
  using Element = TensorElement;
  static constexpr int kPerUnit = Simd::kElementsPerUnit;
  // Transposed K and V, K in pairs, dK and dV.
  static constexpr int kItemBytesPerElement = 3 * 4 / kPerUnit + 2 * 4;

  VectorEngine(Carver& carver, int head_dim, int tiles)
      : head_dim_(head_dim), units_(head_dim / kPerUnit) {
    const int64_t key_units = int64_t{tiles} * kTileKeys * units_;
    k_transposed_ = carver.take<uint32_t>(key_units);
    v_transposed_ = carver.take<uint32_t>(key_units);
    k_pairs_ = carver.take<uint32_t>(key_units);
    dk_ = carver.take<float>(int64_t{tiles} * kTileKeys * head_dim);
    dv_ = carver.take<float>(int64_t{tiles} * kTileKeys * head_dim);
    q_ = queries_of(carver);
    d_o_ = queries_of(carver);
    dq_ = carver.take<float>(kTileQueries * head_dim);
    products_ = carver.take<float>(Simd::kBlockRows * kTileKeys);
    d_products_ = carver.take<float>(Simd::kBlockRows * kTileKeys);
    p_pairs_ = carver.take<uint32_t>(kTileQueries * kKeyUnits);
    ds_rows_ = carver.take<uint32_t>(kTileQueries * kKeyUnits);
    ds_pairs_ = kPerUnit == 1 ? ds_rows_ : carver.take<uint32_t>(kTileQueries * kKeyUnits);
  }

  void begin() {}
  void end() {}

  void load_keys(int tile, const Rows<Element>& k, const Rows<Element>& v) {
    const int64_t first = int64_t{tile} * kTileKeys * units_;
    uint32_t* const staging = k_pairs_ + first;  // V passes through before K stays
    copy_rows(v, staging);
    transpose(staging, v_transposed_ + first);
    copy_rows(k, staging);
    transpose(staging, k_transposed_ + first);
    if constexpr (kPerUnit == 2) pair_rows(k, staging);
    memset(dk_ + int64_t{tile} * kTileKeys * head_dim_, 0, sizeof(float) * kTileKeys * head_dim_);
    memset(dv_ + int64_t{tile} * kTileKeys * head_dim_, 0, sizeof(float) * kTileKeys * head_dim_);
  }

  void load_queries(const Rows<Element>& q, const Rows<Element>& d_o) {
    copy_rows(q, q_.rows);
    copy_rows(d_o, d_o_.rows);
    if constexpr (kPerUnit == 2) {
      pair_rows(q, q_.pairs);
      pair_rows(d_o, d_o_.pairs);
    }
    constexpr int kGranule = Simd::kBlockRows;
    rows_ = (q.count + kGranule - 1) / kGranule * kGranule;
    memset(dq_, 0, sizeof(float) * kTileQueries * head_dim_);
  }

  void attend(int tile, const ScoreTile& scores, RowPrefetch& prefetch) {
    const int64_t first = int64_t{tile} * kTileKeys * units_;
    for (int row = 0; row < rows_; row += Simd::kBlockRows) {
      multiply_rows<Simd, false>(RowMajor{q_.rows + row * units_, units_}, k_transposed_ + first,
                                 kTileKeys, units_, products_, kTileKeys, kTileKeys);
      multiply_rows<Simd, false>(RowMajor{d_o_.rows + row * units_, units_}, v_transposed_ + first,
                                 kTileKeys, units_, d_products_, kTileKeys, kTileKeys);
      compute_scores(row, scores);
      prefetch.step();
    }
    const int steps = rows_ / kPerUnit;
    float* const dk = dk_ + int64_t{tile} * kTileKeys * head_dim_;
    float* const dv = dv_ + int64_t{tile} * kTileKeys * head_dim_;
    for (int key = 0; key < kTileKeys; key += Simd::kBlockRows) {
      multiply_rows<Simd, true>(ColumnMajor{p_pairs_ + key, kTileKeys}, d_o_.pairs, head_dim_,
                                steps, dv + key * head_dim_, head_dim_, head_dim_);
      multiply_rows<Simd, true>(ColumnMajor{ds_pairs_ + key, kTileKeys}, q_.pairs, head_dim_, steps,
                                dk + key * head_dim_, head_dim_, head_dim_);
    }
    for (int row = 0; row < rows_; row += Simd::kBlockRows) {
      multiply_rows<Simd, true>(RowMajor{ds_rows_ + row * kKeyUnits, kKeyUnits}, k_pairs_ + first,
                                head_dim_, kKeyUnits, dq_ + row * head_dim_, head_dim_, head_dim_);
    }
  }

  void finish_queries() {}
  void flush() {}
  void finish_keys(int) {}
  const float* dq(int row, int d) const { return dq_ + row * head_dim_ + d; }
  const float* dk(int tile, int key, int d) const { return dk_ + key_offset(tile, key) + d; }
  const float* dv(int tile, int key, int d) const { return dv_ + key_offset(tile, key) + d; }

 private:
  static constexpr int kKeyUnits = kTileKeys / kPerUnit;

  struct Queries {
    uint32_t* rows;   // [kTileQueries][units]
    uint32_t* pairs;  // [kTileQueries / kPerUnit][head_dim]
  };

  // One fp32 is a pair of itself alone.
  Queries queries_of(Carver& carver) const {
    uint32_t* const rows = carver.take<uint32_t>(kTileQueries * units_);
    return {rows, kPerUnit == 1 ? rows : carver.take<uint32_t>(kTileQueries * units_)};
  }

  int64_t key_offset(int tile, int key) const {
    return (int64_t{tile} * kTileKeys + Simd::column_of_key(key)) * head_dim_;
  }

  // units[64][units of head_dim]; rows past the end are zero.
  void copy_rows(const Rows<Element>& rows, uint32_t* units) const {
    for (int row = 0; row < rows.count; ++row, units += units_) {
      if constexpr (kPerUnit == 2) {
        memcpy(units, rows[row], sizeof *units * units_);
      } else {
        for (int d = 0; d < head_dim_; ++d) {
          const float value = Element::widen(rows[row][d]);
          memcpy(units + d, &value, sizeof value);
        }
      }
    }
    memset(units, 0, sizeof *units * (kTileQueries - rows.count) * units_);
  }

  // pairs[32][head_dim]: an even row in the low half of each unit, the next row in the high half.
  void pair_rows(const Rows<Element>& rows, uint32_t* pairs) const {
    static const typename Element::Storage zeros[kMaxHeadDim] = {};
    for (int row = 0; row < kTileQueries; row += 2, pairs += head_dim_) {
      const auto* const even = row < rows.count ? rows[row] : zeros;
      const auto* const odd = row + 1 < rows.count ? rows[row + 1] : zeros;
      for (int d = 0; d < head_dim_; ++d) {
        pairs[d] = static_cast<uint32_t>(even[d]) | static_cast<uint32_t>(odd[d]) << 16;
      }
    }
  }

  // [64][units] to [units][64].
  void transpose(const uint32_t* rows, uint32_t* columns) const {
    for (int unit = 0; unit < units_; ++unit) {
      for (int row = 0; row < kTileKeys; ++row) {
        columns[unit * kTileKeys + row] = rows[row * units_ + unit];
      }
    }
  }

  void compute_scores(int row, const ScoreTile& scores) {
    if (scores.rules.is_modified) {
      scores.words ? score_rows<true, true>(row, scores) : score_rows<true, false>(row, scores);
    } else {
      scores.words ? score_rows<false, true>(row, scores) : score_rows<false, false>(row, scores);
    }
  }

  // Turns the products of kBlockRows rows into P and dS.
  template <bool kModified, bool kMasked>
  ROOFGATE_NOINLINE void score_rows(int row, const ScoreTile& scores) {
    constexpr int kSpan = kPerUnit * Simd::kLanes;  // keys whose results are stored together
    for (int i = 0; i < Simd::kBlockRows; i += kPerUnit) {
      for (int key = 0; key < kTileKeys; key += kSpan) {
        Probability<Simd> block[kPerUnit][kPerUnit];
        ROOFGATE_UNROLL
        for (int e = 0; e < kPerUnit * kPerUnit; ++e) {
          const int r = i + e / kPerUnit, lane_key = key + e % kPerUnit * Simd::kLanes;
          block[e / kPerUnit][e % kPerUnit] = probability<Simd, kModified, kMasked>(
              scores.rules, scores.row(row + r), lane_key,
              Simd::load(products_ + r * kTileKeys + lane_key),
              Simd::load(d_products_ + r * kTileKeys + lane_key));
        }
        const int pair = (row + i) / kPerUnit * kTileKeys + key;
        uint32_t* const ds_row = ds_rows_ + (row + i) * kKeyUnits + key / kPerUnit;
        Simd::store_block(block, p_pairs_ + pair, ds_pairs_ + pair, ds_row, ds_row + kKeyUnits);
      }
    }
  }

  const int head_dim_;
  const int units_;         // of head_dim
  uint32_t* k_transposed_;  // [tiles][units][kTileKeys]
  uint32_t* v_transposed_;
  uint32_t* k_pairs_;  // [tiles][kKeyUnits][head_dim]
  float* dk_;          // [tiles][columns of keys][head_dim]
  float* dv_;
  Queries q_;
  Queries d_o_;
  int rows_ = 0;       // loaded, rounded up to a block
  float* dq_;          // [kTileQueries][head_dim]
  float* products_;    // [kBlockRows][kTileKeys]: Q K^T
  float* d_products_;  // dO V^T
  uint32_t* p_pairs_;  // [kTileQueries / kPerUnit][columns of keys]
  uint32_t* ds_pairs_;
  uint32_t* ds_rows_;  // [kTileQueries][kKeyUnits]
};

// Instruction sets that compute in fp32, on bf16 tensors too. 16 or 32 registers: kBlockRows x 2
// sums, 2 vectors of the right operand and a broadcast of the left one.
template <int kCount>
struct Fp32Vectors : Vectors<kCount> {
  using Base = Vectors<kCount>;
  using typename Base::Vector;
  using Operand = Vector;
  static constexpr int kElementsPerUnit = 1;
  static constexpr int kBlockRows = kCount == 16 ? 8 : 4;

  static ROOFGATE_INLINE Operand load_operand(const uint32_t* p) {
    Operand operand;
    memcpy(&operand, p, sizeof operand);
    return operand;
  }
  static ROOFGATE_INLINE Operand broadcast_operand(const uint32_t* p) {
    float value;
    memcpy(&value, p, sizeof value);
    return Base::broadcast(value);
  }
  static ROOFGATE_INLINE Vector multiply_add(Vector sum, Operand a, Operand b) {
    return sum + a * b;
  }
  static int column_of_key(int key) { return key; }

  static ROOFGATE_INLINE void store_block(const Probability<Fp32Vectors> (&block)[1][1],
                                          uint32_t* p_pairs, uint32_t* ds_pairs, uint32_t*,
                                          uint32_t*) {
    memcpy(p_pairs, &block[0][0].p, sizeof(Vector));
    memcpy(ds_pairs, &block[0][0].ds, sizeof(Vector));
  }
};

}  // namespace
}  // namespace roofgate
