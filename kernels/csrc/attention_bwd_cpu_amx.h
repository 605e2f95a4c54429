// The engine of the attention backward on AMX tiles; attention_bwd_cpu_engine.h says what an engine
// offers.
//
//   S  = Q K^T    left: rows of Q    right: K transposed
//   dP = dO V^T   left: rows of dO   right: V transposed
//   dQ += dS K    left: rows of dS   right: K in pairs of rows
//   dV^T += dO^T P, dK^T += Q^T dS   left: dO and Q transposed   right: P and dS in pairs of rows
//
// Per 64 x 64 scores of head_dim 64, in cycles (counted, for a core that takes 17 cycles for a
// tdpbf16ps, as measured, and starts two vector operations, two loads and one store a cycle):
//   products     160 tdpbf16ps: 2720
//   scores       256 vectors of 14.5 operations on two ports: 1860
//   tile loads   160 operands and 32 sums, of 16 lines each: 1540
//   stores       32 sums, 32 products and 24 KB of P and dS: 1410
// 3.5 us were measured where the products alone need 0.7: the operands of a tile, 100 KB, pass
// between the L1 and L2 caches (a tile of sums in L2 costs 3 times its products), so what is read
// once is used for as many products as there are registers. That is why P and dS of kSlots query
// tiles are kept, and dK, dV add up all of them at a visit; dQ meets all keys of the chunk at once.
// The products of 32 x 32 scores run beside the scores of 32 x 32 others.
#pragma once

#include "attention_bwd_cpu_amx_tiles.h"
#include "attention_bwd_cpu_bf16.h"
#include "attention_bwd_cpu_item.h"
#include "attention_bwd_cpu_scores.h"

namespace roofgate {
namespace {

// A block of two by two sums in tiles 0-3: a tile of operands then serves two products, and a row
// of sums or of operands is read once for two. A block at an odd edge has one row or one column.
template <bool kTwoRows = true, bool kTwoColumns = true>
struct SumBlock {
  static ROOFGATE_INLINE void clear() {
    _tile_zero(0);
    if constexpr (kTwoColumns) _tile_zero(1);
    if constexpr (kTwoRows) _tile_zero(2);
    if constexpr (kTwoRows && kTwoColumns) _tile_zero(3);
  }
  static ROOFGATE_INLINE void load(const Tile* sums, ptrdiff_t row_stride) {
    _tile_loadd(0, sums, 64);
    if constexpr (kTwoColumns) _tile_loadd(1, sums + 1, 64);
    if constexpr (kTwoRows) _tile_loadd(2, sums + row_stride, 64);
    if constexpr (kTwoRows && kTwoColumns) _tile_loadd(3, sums + row_stride + 1, 64);
  }
  static ROOFGATE_INLINE void store(Tile* sums, ptrdiff_t row_stride) {
    _tile_stored(0, sums, 64);
    if constexpr (kTwoColumns) _tile_stored(1, sums + 1, 64);
    if constexpr (kTwoRows) _tile_stored(2, sums + row_stride, 64);
    if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, sums + row_stride + 1, 64);
  }
  // Adds one tile of depth: left and left + left_stride times right and right + 1.
  static ROOFGATE_INLINE void add(const Tile* left, ptrdiff_t left_stride, const Tile* right) {
    _tile_loadd(6, right, 64);
    _tile_loadd(4, left, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoColumns) {
      _tile_loadd(7, right + 1, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, left + left_stride, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kTwoRows && kTwoColumns) _tile_dpbf16ps(3, 5, 7);
  }
};

// The products of 32 queries by 32 keys: Q K^T, then dO V^T. In steps that run between the scores
// of another block.
class BlockProducts {
 public:
  // `q` and `d_o` are [2][depth tiles], `k` and `v` are [depth tiles] of stride 4, results are
  // [2][2].
  BlockProducts(const Tile* q, const Tile* d_o, const Tile* k, const Tile* v, int depth_tiles,
                Tile* products, Tile* d_products)
      : left_{q, d_o}, right_{k, v}, depth_tiles_(depth_tiles), results_{products, d_products} {}

  static constexpr int kSteps = 8;
  // Step 0 to 7: a quarter of one of the two products.
  ROOFGATE_INLINE void run_step(int step) {
    const int which = step / 4, quarter = step % 4;
    if (quarter == 0) SumBlock<>::clear();
    const int end = (quarter + 1) * depth_tiles_ / 4;
    for (int i = quarter * depth_tiles_ / 4; i < end; ++i) {
      SumBlock<>::add(left_[which] + i, depth_tiles_, right_[which] + 4 * i);
    }
    if (quarter == 3) SumBlock<>::store(results_[which], 2);
  }

 private:
  const Tile* const left_[2];
  const Tile* const right_[2];
  const int depth_tiles_;
  Tile* const results_[2];
};

struct NoProducts {
  ROOFGATE_INLINE void run_step(int) {}
};

class AmxEngine {
 public:
  using Element = Bf16;
  // Transposed K and V, K in pairs, dK and dV.
  static constexpr int kItemBytesPerElement = 3 * 2 + 2 * 4;
  static constexpr int kSlots = 2;

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
    q_transposed_ = carver.take<Tile>(kSlots * 2 * columns_);
    d_o_transposed_ = carver.take<Tile>(kSlots * 2 * columns_);
    staging_ = carver.take<Tile>(4 * depth_tiles_);
    dq_ = carver.take<Tile>(4 * columns_);
    for (Products& products : products_) {
      products.of_q = carver.take<Tile>(4);
      products.of_d_o = carver.take<Tile>(4);
    }
    ds_ = carver.take<Tile>(8 * tiles);
    p_pairs_ = carver.take<Tile>(int64_t{8} * tiles * kSlots);
    ds_pairs_ = carver.take<Tile>(int64_t{8} * tiles * kSlots);
    met_tiles_ = carver.take<int>(tiles);
    slots_met_ = carver.take<unsigned>(tiles);
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
    slots_met_[tile] = 0;
    tiles_ = tile + 1;
  }

  void load_queries(const Rows<Bf16>& q, const Rows<Bf16>& d_o) {
    if (++slot_ == kSlots) flush();
    met_ = 0;
    pack_left(q, head_dim_, q_);
    pair_left(q_, depth_tiles_, head_dim_, staging_);
    transpose_pairs(staging_, columns_, q_transposed_ + slot_ * 2 * columns_);
    pack_left(d_o, head_dim_, d_o_);
    pair_left(d_o_, depth_tiles_, head_dim_, staging_);
    transpose_pairs(staging_, columns_, d_o_transposed_ + slot_ * 2 * columns_);
  }

  void attend(int tile, const ScoreTile& scores, RowPrefetch& prefetch) {
    if (scores.rules.is_modified) {
      scores.words ? attend_scores<true, true>(tile, scores, prefetch)
                   : attend_scores<true, false>(tile, scores, prefetch);
    } else {
      scores.words ? attend_scores<false, true>(tile, scores, prefetch)
                   : attend_scores<false, false>(tile, scores, prefetch);
    }
    met_tiles_[met_++] = tile;
    slots_met_[tile] |= 1u << slot_;
  }

  // dQ of the loaded queries, summed in registers over all keys that they met.
  ROOFGATE_NOINLINE void finish_queries() {
    finish_stores();
    for (int strip = 0; strip < 4; strip += 2) {
      int d = 0;
      for (; d + 2 <= columns_; d += 2) sum_queries<SumBlock<>>(strip, d);
      if (d < columns_) sum_queries<SumBlock<true, false>>(strip, d);
    }
  }

  // dV^T and dK^T of what the queries of all slots have given, and the slots are free.
  ROOFGATE_NOINLINE void flush() {
    finish_stores();
    for (int tile = 0; tile < tiles_; ++tile) {
      if (slots_met_[tile] == 0) continue;
      add_slots(tile, d_o_transposed_, p_pairs_, dv_);
      add_slots(tile, q_transposed_, ds_pairs_, dk_);
      slots_met_[tile] = 0;
    }
    slot_ = 0;
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
  struct Products {  // of 32 queries by 32 keys: [2][2] tiles
    Tile* of_q;      // Q K^T
    Tile* of_d_o;    // dO V^T
  };

  static const float* piece(const Tile* tiles, int tile, int row) {
    return reinterpret_cast<const float*>(tiles[tile]) + row * kTileSide;
  }
  const float* key_piece(const Tile* tiles, int tile, int key, int d) const {
    const int column = Bf16Vectors::column_of_key(key);
    return piece(tiles, (tile * columns_ + d / kTileSide) * 4 + column / kTileSide,
                 column % kTileSide);
  }

  // Block 0 to 3 of a tile: 32 queries by 32 keys, whose keys change last.
  BlockProducts products_of(int tile, int block) {
    const int row = block % 2 * 2 * depth_tiles_;
    const int column = 4 * tile * depth_tiles_ + block / 2 * 2;
    const Products& results = products_[block % 2];
    return {q_ + row,     d_o_ + row,   k_transposed_ + column, v_transposed_ + column,
            depth_tiles_, results.of_q, results.of_d_o};
  }

  template <bool kModified, bool kMasked>
  void attend_scores(int tile, const ScoreTile& scores, RowPrefetch& prefetch) {
    finish_stores();
    BlockProducts first = products_of(tile, 0);
    for (int step = 0; step < BlockProducts::kSteps; ++step) first.run_step(step);
    for (int block = 0; block < 3; ++block) {
      BlockProducts next = products_of(tile, block + 1);
      score_block<kModified, kMasked>(tile, block, scores, next, prefetch);
    }
    NoProducts none;
    score_block<kModified, kMasked>(tile, 3, scores, none, prefetch);
  }

  // P and dS of a block, four queries at a time, beside the products of another block.
  template <bool kModified, bool kMasked, class Beside>
  ROOFGATE_NOINLINE void score_block(int tile, int block, const ScoreTile& scores, Beside& beside,
                                     RowPrefetch& prefetch) {
    for (int step = 0; step < BlockProducts::kSteps; ++step) {
      beside.run_step(step);
      prefetch.step();
      score_pair<kModified, kMasked>(tile, block, 2 * step, scores);
      score_pair<kModified, kMasked>(tile, block, 2 * step + 1, scores);
    }
  }

  // Two queries by the 32 keys of a block.
  template <bool kModified, bool kMasked>
  ROOFGATE_INLINE void score_pair(int tile, int block, int pair, const ScoreTile& scores) {
    const int queries = block % 2, keys = block / 2;  // which 32 of 64
    const int tile_row = pair / 8, row_in_tile = pair % 8 * 2;
    const int offset = tile_row * 2 * kTileBytes / 4 + row_in_tile * kTileSide;
    const float* const product = floats(products_[block % 2].of_q) + offset;
    const float* const d_product = floats(products_[block % 2].of_d_o) + offset;
    const ScoreRow rows[2] = {scores.row(queries * kTileDepth + 2 * pair),
                              scores.row(queries * kTileDepth + 2 * pair + 1)};
    Probability<Bf16Vectors> results[2][2];
    ROOFGATE_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int row = e / 2, column = e % 2;
      const int at = column * kTileBytes / 4 + row * kTileSide;
      results[row][column] = probability<Bf16Vectors, kModified, kMasked>(
          scores.rules, rows[row], keys * kTileDepth + column * kTileSide,
          Bf16Vectors::load(product + at), Bf16Vectors::load(d_product + at));
    }
    uint32_t* const ds =
        words(ds_[8 * tile + 2 * (2 * queries + tile_row) + keys]) + row_in_tile * kTileSide;
    const int pairs = 8 * (tile * kSlots + slot_) + 4 * queries + 2 * keys;
    Bf16Vectors::store_span(results, words(p_pairs_[pairs]) + pair * kTileSide,
                            words(ds_pairs_[pairs]) + pair * kTileSide, kTileBytes / 4, ds,
                            ds + kTileSide);
  }

  template <class Sums>
  ROOFGATE_INLINE void sum_queries(int strip, int d) {
    Sums::clear();
    for (int i = 0; i < met_; ++i) {
      const Tile* const ds = ds_ + 8 * met_tiles_[i] + 2 * strip;
      const Tile* const k = k_pairs_ + 2 * met_tiles_[i] * columns_ + d;
      Sums::add(ds, 2, k);
      Sums::add(ds + 1, 2, k + columns_);
    }
    Sums::store(dq_ + strip * columns_ + d, columns_);
  }

  // sums[tile] += left right over the slots that met the tile.
  ROOFGATE_INLINE void add_slots(int tile, const Tile* left, const Tile* right, Tile* sums) {
    for (int column = 0; column < 4; column += 2) {
      int d = 0;
      for (; d + 2 <= columns_; d += 2) add_slots<SumBlock<>>(tile, d, column, left, right, sums);
      if (d < columns_) add_slots<SumBlock<false, true>>(tile, d, column, left, right, sums);
    }
  }
  template <class Sums>
  ROOFGATE_INLINE void add_slots(int tile, int d, int column, const Tile* left, const Tile* right,
                                 Tile* sums) {
    Tile* const block = sums + 4 * (tile * columns_ + d) + column;
    Sums::load(block, 4);
    for (unsigned slots = slots_met_[tile]; slots != 0; slots &= slots - 1) {
      const int slot = __builtin_ctz(slots);
      const Tile* const rows = left + 2 * (slot * columns_ + d);
      const Tile* const columns = right + 8 * (tile * kSlots + slot) + column;
      Sums::add(rows, 2, columns);
      Sums::add(rows + 1, 2, columns + 4);
    }
    Sums::store(block, 4);
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
  Tile* q_transposed_;  // [kSlots][columns][2]
  Tile* d_o_transposed_;
  Tile* staging_;
  Tile* dq_;              // [4][columns]
  Products products_[2];  // one is computed while the other becomes P and dS
  Tile* ds_;              // [tiles][4][2]
  Tile* p_pairs_;         // [tiles][kSlots][2][4]
  Tile* ds_pairs_;
  int* met_tiles_;  // [met]: key tiles that the loaded queries met
  int met_ = 0;
  unsigned* slots_met_;  // [tiles]: bit s: the tile met the queries of slot s since the last flush
  int tiles_ = 0;
  int slot_ = -1;  // of the loaded queries
};

}  // namespace
}  // namespace roofgate
