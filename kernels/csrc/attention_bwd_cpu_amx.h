// The engine of the attention backward on AMX tiles; attention_bwd_cpu_engine.h says what an engine
// offers.
//
//   S  = Q K^T    left: rows of Q    right: K transposed
//   dP = dO V^T   left: rows of dO   right: V transposed
//   dQ += dS K    left: rows of dS   right: K in pairs of rows
//   dV^T += dO^T P, dK^T += Q^T dS   left: dO and Q transposed   right: P and dS in pairs of rows
//
// Per 64 x 64 scores of head_dim 64, in cycles (counted, for a core that starts one tdpbf16ps every
// 16 cycles, two vectors operations, two loads and one store a cycle):
//   products         160 tdpbf16ps: 2560
//   scores           256 vectors of 14.5 operations on two ports: 1856
//   tile loads       160 operands and 40 sums of 16 lines each: 1664
//   stores           72 sums and 16 KB of P and dS: 1536
// The products of the scores of 16 queries run beside the scores of the 16 queries before.
#pragma once

#include "attention_bwd_cpu_amx_tiles.h"
#include "attention_bwd_cpu_bf16.h"
#include "attention_bwd_cpu_item.h"
#include "attention_bwd_cpu_scores.h"

namespace roofgate {
namespace {

// The products of one strip, 16 queries by 64 keys: Q K^T, then dO V^T. In steps that run between
// the scores of the strip before. Uses tiles 0-3 as sums, 4 and 5-6 as operands.
class StripProducts {
 public:
  // `q` and `d_o` are [depth tiles], `k` and `v` are [depth tiles][4], results [4] tiles each.
  StripProducts(const Tile* q, const Tile* d_o, const Tile* k, const Tile* v, int depth_tiles,
                Tile* products, Tile* d_products)
      : left_{q, d_o}, right_{k, v}, depth_tiles_(depth_tiles), results_{products, d_products} {}

  static constexpr int kSteps = 8;
  // Step 0 to 7: a quarter of one of the two products.
  ROOFGATE_INLINE void run_step(int step) {
    const int which = step / 4;
    if (step % 4 == 0) clear();
    for (int i = 0; i < depth_tiles_; ++i, ++next_) multiply(left_[which], right_[which]);
    if (step % 4 == 3) store(results_[which]);
  }

 private:
  ROOFGATE_INLINE void clear() {
    next_ = 0;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  ROOFGATE_INLINE void multiply(const Tile* left, const Tile* right) {
    const Tile* const operand = right + next_;
    switch (next_ % 4) {
      case 0:
        _tile_loadd(4, left + next_ / 4, 64);
        _tile_loadd(5, operand, 64);
        _tile_dpbf16ps(0, 4, 5);
        break;
      case 1:
        _tile_loadd(6, operand, 64);
        _tile_dpbf16ps(1, 4, 6);
        break;
      case 2:
        _tile_loadd(5, operand, 64);
        _tile_dpbf16ps(2, 4, 5);
        break;
      default:
        _tile_loadd(6, operand, 64);
        _tile_dpbf16ps(3, 4, 6);
    }
  }
  ROOFGATE_INLINE static void store(Tile* result) {
    _tile_stored(0, result, 64);
    _tile_stored(1, result + 1, 64);
    _tile_stored(2, result + 2, 64);
    _tile_stored(3, result + 3, 64);
  }

  const Tile* const left_[2];
  const Tile* const right_[2];
  const int depth_tiles_;
  Tile* const results_[2];
  int next_ = 0;  // multiplication of the present product
};

struct NoProducts {
  ROOFGATE_INLINE void run_step(int) {}
};

// sums[0, 4) += left right for two tiles of depth: left [2], right [2] of stride right_stride.
ROOFGATE_INLINE void accumulate_four(const Tile* left, const Tile* right, ptrdiff_t right_stride,
                                     Tile* sums) {
  _tile_loadd(0, sums, 64);
  _tile_loadd(1, sums + 1, 64);
  _tile_loadd(2, sums + 2, 64);
  _tile_loadd(3, sums + 3, 64);
  for (int step = 0; step < 2; ++step, right += right_stride) {
    _tile_loadd(4, left + step, 64);
    _tile_loadd(5, right, 64);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, right + 1, 64);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, right + 2, 64);
    _tile_dpbf16ps(2, 4, 7);
    _tile_loadd(5, right + 3, 64);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 1, 64);
  _tile_stored(2, sums + 2, 64);
  _tile_stored(3, sums + 3, 64);
}

ROOFGATE_INLINE void accumulate_one(const Tile* left, const Tile* right, ptrdiff_t right_stride,
                                    Tile* sum) {
  _tile_loadd(0, sum, 64);
  for (int step = 0; step < 2; ++step, right += right_stride) {
    _tile_loadd(4, left + step, 64);
    _tile_loadd(5, right, 64);
    _tile_dpbf16ps(0, 4, 5);
  }
  _tile_stored(0, sum, 64);
}

class AmxEngine {
 public:
  using Element = Bf16;
  // Transposed K and V, K in pairs, dK and dV.
  static constexpr int kItemBytesPerElement = 3 * 2 + 2 * 4;

  AmxEngine(Carver& carver, int head_dim, int tiles)
      : head_dim_(head_dim),
        columns_(head_dim / kTileSide),
        depth_tiles_((head_dim + kTileDepth - 1) / kTileDepth) {
    k_transposed_ = carver.take<Tile>(int64_t{4} * tiles * depth_tiles_);
    v_transposed_ = carver.take<Tile>(int64_t{4} * tiles * depth_tiles_);
    k_pairs_ = carver.take<Tile>(int64_t{2} * tiles * columns_);
    dk_ = carver.take<Tile>(int64_t{4} * tiles * columns_);
    dv_ = carver.take<Tile>(int64_t{4} * tiles * columns_);
    q_ = carver.take<Tile>(4 * depth_tiles_);
    d_o_ = carver.take<Tile>(4 * depth_tiles_);
    q_transposed_ = carver.take<Tile>(2 * columns_);
    d_o_transposed_ = carver.take<Tile>(2 * columns_);
    staging_ = carver.take<Tile>(4 * depth_tiles_);
    dq_ = carver.take<Tile>(4 * columns_);
    for (Strip& strip : strips_) {
      strip.products = carver.take<Tile>(4);
      strip.d_products = carver.take<Tile>(4);
    }
    ds_ = carver.take<Tile>(8);
    p_pairs_ = carver.take<Tile>(8);
    ds_pairs_ = carver.take<Tile>(8);
  }

  void begin() {
    const TileConfiguration configuration;
    finish_stores();
    _tile_loadconfig(&configuration);
  }
  void end() { _tile_release(); }

  void load_keys(int tile, const Rows<Bf16>& k, const Rows<Bf16>& v) {
    pack_left(v, head_dim_, staging_);
    transpose_left(staging_, depth_tiles_, v_transposed_ + 4 * tile * depth_tiles_);
    pack_left(k, head_dim_, staging_);
    transpose_left(staging_, depth_tiles_, k_transposed_ + 4 * tile * depth_tiles_);
    pair_left(staging_, depth_tiles_, head_dim_, k_pairs_ + 2 * tile * columns_);
    memset(dk_ + 4 * tile * columns_, 0, sizeof(Tile) * 4 * columns_);
    memset(dv_ + 4 * tile * columns_, 0, sizeof(Tile) * 4 * columns_);
  }

  void load_queries(const Rows<Bf16>& q, const Rows<Bf16>& d_o) {
    pack_left(q, head_dim_, q_);
    pair_left(q_, depth_tiles_, head_dim_, staging_);
    transpose_pairs(staging_, columns_, q_transposed_);
    pack_left(d_o, head_dim_, d_o_);
    pair_left(d_o_, depth_tiles_, head_dim_, staging_);
    transpose_pairs(staging_, columns_, d_o_transposed_);
    memset(dq_, 0, sizeof(Tile) * 4 * columns_);
  }

  void attend(int tile, const ScoreTile& scores) {
    if (scores.rules.is_modified) {
      scores.words ? attend_scores<true, true>(tile, scores)
                   : attend_scores<true, false>(tile, scores);
    } else {
      scores.words ? attend_scores<false, true>(tile, scores)
                   : attend_scores<false, false>(tile, scores);
    }
    finish_stores();
    accumulate_keys(tile);
    accumulate_queries(tile);
  }

  // Transposes dK and dV of 64 keys: [head_dim / 16][4 blocks of columns] tiles stay where they
  // are.
  void finish_keys(int tile) {
    for (int i = 4 * tile * columns_; i < 4 * (tile + 1) * columns_; ++i) {
      transpose_words(words(dk_[i]), 16, words(dk_[i]), 16);
      transpose_words(words(dv_[i]), 16, words(dv_[i]), 16);
    }
  }
  const float* dq(int row, int d) const {
    return piece(dq_, row / kTileSide * columns_ + d / kTileSide, row % kTileSide);
  }
  const float* dk(int tile, int key, int d) const { return key_piece(dk_, tile, key, d); }
  const float* dv(int tile, int key, int d) const { return key_piece(dv_, tile, key, d); }

 private:
  struct Strip {
    Tile* products;    // [4]: Q K^T of 16 queries and 64 keys
    Tile* d_products;  // dO V^T
  };

  static const float* piece(const Tile* tiles, int tile, int row) {
    return reinterpret_cast<const float*>(tiles[tile]) + row * kTileSide;
  }
  const float* key_piece(const Tile* tiles, int tile, int key, int d) const {
    const int column = Bf16Vectors::column_of_key(key);
    return piece(tiles, (tile * columns_ + d / kTileSide) * 4 + column / kTileSide,
                 column % kTileSide);
  }

  StripProducts products_of(int tile, int strip) {
    return {q_ + strip * depth_tiles_,
            d_o_ + strip * depth_tiles_,
            k_transposed_ + 4 * tile * depth_tiles_,
            v_transposed_ + 4 * tile * depth_tiles_,
            depth_tiles_,
            strips_[strip % 2].products,
            strips_[strip % 2].d_products};
  }

  template <bool kModified, bool kMasked>
  void attend_scores(int tile, const ScoreTile& scores) {
    finish_stores();
    StripProducts first = products_of(tile, 0);
    for (int step = 0; step < StripProducts::kSteps; ++step) first.run_step(step);
    for (int strip = 0; strip < 3; ++strip) {
      StripProducts next = products_of(tile, strip + 1);
      score_strip<kModified, kMasked>(strip, scores, next);
    }
    NoProducts none;
    score_strip<kModified, kMasked>(3, scores, none);
  }

  // P and dS of 16 queries, two at a time, beside the products of another strip.
  template <bool kModified, bool kMasked, class Products>
  ROOFGATE_NOINLINE void score_strip(int strip, const ScoreTile& scores, Products& products) {
    constexpr int kLanes = Bf16Vectors::kLanes;
    const float* const product = floats(strips_[strip % 2].products);
    const float* const d_product = floats(strips_[strip % 2].d_products);
    for (int pair = 0; pair < StripProducts::kSteps; ++pair) {
      products.run_step(pair);
      const ScoreRow rows[2] = {scores.row(strip * kTileSide + 2 * pair),
                                scores.row(strip * kTileSide + 2 * pair + 1)};
      ROOFGATE_UNROLL
      for (int span = 0; span < 2; ++span) {
        Probability<Bf16Vectors> block[2][2];
        ROOFGATE_UNROLL
        for (int e = 0; e < 4; ++e) {
          const int row = e / 2, column = 2 * span + e % 2;
          const int offset = (column * kTileSide + 2 * pair + row) * kTileSide;
          block[row][e % 2] = probability<Bf16Vectors, kModified, kMasked>(
              scores.rules, rows[row], column * kLanes, Bf16Vectors::load(product + offset),
              Bf16Vectors::load(d_product + offset));
        }
        uint32_t* const ds = words(ds_[2 * strip + span]) + 2 * pair * kTileSide;
        const int row_of_pair = (strip % 2 * 8 + pair) * kTileSide;
        const int pairs = strip / 2 * 4 + 2 * span;
        Bf16Vectors::store_span(block, words(p_pairs_[pairs]) + row_of_pair,
                                words(ds_pairs_[pairs]) + row_of_pair, kTileBytes / 4, ds,
                                ds + kTileSide);
      }
    }
  }

  // dV^T and dK^T of the tile's keys.
  ROOFGATE_NOINLINE void accumulate_keys(int tile) {
    Tile* const dv = dv_ + 4 * tile * columns_;
    Tile* const dk = dk_ + 4 * tile * columns_;
    for (int d = 0; d < columns_; ++d) {
      accumulate_four(d_o_transposed_ + 2 * d, p_pairs_, 4, dv + 4 * d);
    }
    for (int d = 0; d < columns_; ++d) {
      accumulate_four(q_transposed_ + 2 * d, ds_pairs_, 4, dk + 4 * d);
    }
  }

  ROOFGATE_NOINLINE void accumulate_queries(int tile) {
    const Tile* const k = k_pairs_ + 2 * tile * columns_;
    for (int strip = 0; strip < 4; ++strip) {
      Tile* const dq = dq_ + strip * columns_;
      int d = 0;
      for (; d + 4 <= columns_; d += 4) accumulate_four(ds_ + 2 * strip, k + d, columns_, dq + d);
      for (; d < columns_; ++d) accumulate_one(ds_ + 2 * strip, k + d, columns_, dq + d);
    }
  }

  const int head_dim_;
  const int columns_;      // tiles of 16 elements that head_dim takes
  const int depth_tiles_;  // tiles of 32 elements that head_dim takes
  Tile* k_transposed_;     // [tiles][depth_tiles][4]
  Tile* v_transposed_;
  Tile* k_pairs_;  // [tiles][2][columns]
  Tile* dk_;       // [tiles][columns][4], rows are elements until finish_keys
  Tile* dv_;
  Tile* q_;  // [4][depth_tiles]
  Tile* d_o_;
  Tile* q_transposed_;  // [columns][2]
  Tile* d_o_transposed_;
  Tile* staging_;
  Tile* dq_;         // [4][columns]
  Strip strips_[2];  // one is computed while the other becomes P and dS
  Tile* ds_;         // [4][2]
  Tile* p_pairs_;    // [2][4]
  Tile* ds_pairs_;
};

}  // namespace
}  // namespace roofgate
