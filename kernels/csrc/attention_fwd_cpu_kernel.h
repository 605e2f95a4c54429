// One item of softmax(scale * Q K^T + mask) V on the host: a chunk of query rows of one KV head.
//
// kTileKeys keys of K and V at a time are packed into the cache and serve all query tiles of the
// item; attention_fwd_cpu_tile.h does the arithmetic. Memory is O(rows_per_item * head_dim) per
// thread, whatever the sequence lengths.
//
// What bounds it, per 16 scores on AVX-512 BF16 (counted; the ports measured on Zen 5):
//   FLOP          head_dim vdpbf16ps, two a cycle
//   exponentials  16: 4.9 more instructions on the ports of vdpbf16ps; the other 11 fit beside them
//   bytes         K and V once per item, Q and O once: for 512 rows of head_dim 64 some 500 FLOP
//   per
//                 byte beyond the L2 cache, so memory bounds only decoding (few rows)
// Floor: 64 / (64 + 4.9) = 93 % of the multiply-add peak for head_dim 64, 96 % for 128. Reached on
// one core of 512 GFLOP/s with hot caches: 88 % and 94 %; in a whole call, packing included, 84 %
// and 89 %. What is lost: the last softmax of a key tile has no multiplication to run beside (2 %),
// and tiles move between the L1 and L2 caches.
//
// A NaN or infinity in Q, K or V reaches every row that sees it. One in V also reaches rows of the
// same 32 that do not, since their probability of zero is multiplied with it.
#pragma once

#include <float.h>
#include <math.h>

#include "attention_fwd_cpu.h"
#include "attention_fwd_cpu_pack.h"
#include "attention_fwd_cpu_tile.h"

namespace roofgate {
namespace {

constexpr double kLog2E = 1.44269504088896340736;

template <class Simd, class Element>
class AttentionFwdItem {
 public:
  // Bytes that `scratch` needs.
  static size_t scratch_bytes(const AttentionFwdTask& task) {
    AttentionFwdItem item(task);
    return item.carve(nullptr);
  }

  static void run(const AttentionFwdTask& task, int64_t index, void* scratch) {
    AttentionFwdItem item(task);
    item.carve(static_cast<char*>(scratch));
    item.select(index);
    item.compute();
  }

 private:
  using Storage = typename Element::Storage;
  using Tile = QueryTile<Simd>;

  // A query row in the tensors.
  struct Row {
    int64_t head;
    int64_t position;
  };

  explicit AttentionFwdItem(const AttentionFwdTask& task)
      : task_(task),
        params_(task.params),
        problem_(task.params.problem),
        head_dim_(problem_.head_dim),
        scaling_(scaling_of(problem_.scale)) {}

  // A scale of zero becomes the smallest positive one, so that -inf stays hidden and no product
  // counts; a NaN stays one.
  static Scaling scaling_of(float scale) {
    const float scale_log2 = static_cast<float>(fabsf(scale) * kLog2E);
    const float positive = scale_log2 < FLT_MIN ? FLT_MIN : scale_log2;
    return {positive, kHeadroom / positive};
  }

  // Lays the buffers out from `base` on; returns the bytes they take.
  size_t carve(char* base) {
    size_t used = 0;
    const auto take = [&](size_t bytes) {
      char* const buffer = base + used;
      used += (bytes + 63) / 64 * 64;
      return buffer;
    };
    const size_t padded_units = round_up(head_dim_ / Simd::kElementsPerUnit, Simd::kLanes);
    const size_t key_units = size_t{kTileKeys} / Simd::kElementsPerUnit * head_dim_;
    const int tiles = task_.tiles_per_item;
    tiles_ = reinterpret_cast<Tile*>(take(tiles * sizeof(Tile)));
    queries_ = reinterpret_cast<uint32_t*>(take(tiles * padded_units * Tile::kRows * 4));
    outputs_ = reinterpret_cast<float*>(take(size_t{4} * tiles * head_dim_ * Tile::kRows));
    key_tile_.k = reinterpret_cast<uint32_t*>(take(key_units * 4));
    key_tile_.v = reinterpret_cast<uint32_t*>(take(key_units * 4));
    probabilities_ = reinterpret_cast<uint32_t*>(
        take(size_t{4} * kTileKeys / Simd::kElementsPerUnit * Tile::kRows));
    staging_ = take(size_t{4} * (head_dim_ + Simd::kLanes) * Simd::kLanes);
    return used;
  }

  void select(int64_t index) {
    const int64_t heads = int64_t{problem_.batch} * problem_.heads_kv;
    const int64_t chunk = task_.chunks - 1 - index / heads;  // causal: the long rows come first
    batch_ = index % heads / problem_.heads_kv;
    head_kv_ = index % heads % problem_.heads_kv;
    first_row_ = chunk * task_.rows_per_item;
    const int64_t rows_left = task_.rows - first_row_;
    rows_ = static_cast<int>(rows_left < task_.rows_per_item ? rows_left : task_.rows_per_item);
  }

  void compute() {
    const int tiles = (rows_ + Tile::kRows - 1) / Tile::kRows;
    for (int t = 0; t < tiles; ++t) load_tile(t);
    const int32_t last_key = tiles_[tiles - 1].max_last_key;  // rows are in order of position
    for (int64_t key = 0; key <= last_key; key += kTileKeys) {
      pack_key_tile(key, last_key + 1 - key);
      for (int t = 0; t < tiles; ++t) {
        attend(tiles_[t], key_tile_, head_dim_, scaling_, probabilities_);
      }
    }
    for (int t = 0; t < tiles; ++t) store_tile(t);
  }

  Row row_at(int64_t row) const {
    return {head_kv_ * task_.group + row % task_.group, row / task_.group};
  }

  int32_t last_visible_key(int64_t position) const {
    int64_t last = int64_t{problem_.seqlen_k} - 1;
    if (problem_.window_right == 0) last += position + 1 - problem_.seqlen_q;
    return static_cast<int32_t>(last < -1 ? -1 : last);
  }

  void load_tile(int t) {
    constexpr int kLanes = Simd::kLanes;
    Tile& tile = tiles_[t];
    const int64_t first = first_row_ + int64_t{t} * Tile::kRows;
    const int rows_left = rows_ - t * Tile::kRows;
    tile.rows = rows_left < Tile::kRows ? rows_left : Tile::kRows;
    tile.vectors = (tile.rows + kLanes - 1) / kLanes;
    const size_t padded_units = round_up(head_dim_ / Simd::kElementsPerUnit, kLanes);
    tile.q = queries_ + t * padded_units * Tile::kRows;
    tile.output = outputs_ + size_t{1} * t * head_dim_ * Tile::kRows;
    memset(tile.output, 0, sizeof(float) * head_dim_ * Tile::kRows);
    for (int row = 0; row < Tile::kRows; ++row) {
      tile.reference[row] = kNoReference;
      tile.offset[row] = kNoReference * scaling_.scale_log2;
      tile.sum[row] = tile.rounded_sum[row] = 0.0f;
      tile.last_key[row] =
          row < tile.rows ? last_visible_key(row_at(first + row).position) : int32_t{-1};
    }
    tile.min_last_key = tile.last_key[0];
    tile.max_last_key = tile.last_key[tile.rows - 1];
    const Storage* rows[kLanes];
    for (int column = 0; column < tile.vectors * kLanes; column += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        rows[lane] = column + lane < tile.rows ? query(row_at(first + column + lane)) : nullptr;
      }
      pack_queries<Simd, Element>(rows, head_dim_, problem_.scale < 0, tile.q + column,
                                  reinterpret_cast<uint32_t*>(staging_));
    }
  }

  void pack_key_tile(int64_t key, int64_t keys_left) {
    key_tile_.first_key = static_cast<int32_t>(key);
    key_tile_.keys = static_cast<int>(keys_left < kTileKeys ? keys_left : kTileKeys);
    const int padded = round_up(key_tile_.keys, kChunkSteps * Simd::kElementsPerUnit);
    pack_keys<Simd>(key_rows(key, keys_left), padded, head_dim_, key_tile_.k);
    pack_values<Simd>(value_rows(key, keys_left), padded, head_dim_, key_tile_.v);
    prefetch_rows(key_rows(key + kTileKeys, keys_left - kTileKeys), head_dim_);
    prefetch_rows(value_rows(key + kTileKeys, keys_left - kTileKeys), head_dim_);
  }

  // The rows of K and V from `key` on, as many as a tile takes.
  Rows<Element> key_rows(int64_t key, int64_t keys_left) const {
    return rows_of(problem_.k, problem_.k_stride, key, keys_left);
  }
  Rows<Element> value_rows(int64_t key, int64_t keys_left) const {
    return rows_of(problem_.v, problem_.v_stride, key, keys_left);
  }
  Rows<Element> rows_of(const void* tensor, const int64_t* stride, int64_t key,
                        int64_t keys_left) const {
    const int64_t first = batch_ * stride[0] + head_kv_ * stride[1] + key * stride[2];
    return {static_cast<const Storage*>(tensor) + first, stride[2],
            static_cast<int>(keys_left < kTileKeys ? keys_left : kTileKeys)};
  }

  // Divides by the sums and writes O and LSE. A row without a key is zero by definition, whatever
  // stood in V.
  void store_tile(int t) {
    constexpr int kLanes = Simd::kLanes;
    const Tile& tile = tiles_[t];
    const int64_t first = first_row_ + int64_t{t} * Tile::kRows;
    for (int column = 0; column < tile.rows; column += kLanes) {
      Storage* rows[kLanes];
      alignas(64) float factors[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        const int row = column + lane;
        rows[lane] = nullptr;
        factors[lane] = 1.0f / tile.rounded_sum[row];
        if (row >= tile.rows) continue;
        const bool sees_keys = tile.last_key[row] >= 0;
        Storage* const out = output(row_at(first + row));
        if (sees_keys) {
          rows[lane] = out;
        } else {
          memset(out, 0, sizeof(Storage) * head_dim_);
        }
        *lse(row_at(first + row)) =
            sees_keys ? static_cast<float>(tile.reference[row] * fabs(double{problem_.scale}) +
                                           logf(tile.sum[row]))
                      : -HUGE_VALF;
      }
      unpack_output<Simd, Element>(tile.output + column, factors, head_dim_, rows,
                                   reinterpret_cast<float*>(staging_));
    }
  }

  const Storage* query(Row row) const {
    const int64_t* const s = problem_.q_stride;
    return static_cast<const Storage*>(problem_.q) + batch_ * s[0] + row.head * s[1] +
           row.position * s[2];
  }
  Storage* output(Row row) const {
    const int64_t* const s = params_.o_stride;
    return static_cast<Storage*>(params_.o) + batch_ * s[0] + row.head * s[1] + row.position * s[2];
  }
  float* lse(Row row) const {
    return params_.lse + (batch_ * problem_.heads_q + row.head) * problem_.seqlen_q + row.position;
  }

  const AttentionFwdTask& task_;
  const roofgate_attention_fwd_params& params_;
  const roofgate_attention_problem& problem_;
  const int head_dim_;
  const Scaling scaling_;
  int64_t batch_ = 0;
  int64_t head_kv_ = 0;
  int64_t first_row_ = 0;
  int rows_ = 0;
  Tile* tiles_ = nullptr;  // [tiles_per_item]
  uint32_t* queries_ = nullptr;
  float* outputs_ = nullptr;
  KeyTile key_tile_{};
  uint32_t* probabilities_ = nullptr;  // [units of kTileKeys][kRows]
  char* staging_ = nullptr;            // a vector of rows on its way through a transposition
};

template <class Simd, class Element>
void run_item_of_element(const void* task, int64_t item, void* scratch) {
  AttentionFwdItem<Simd, Element>::run(*static_cast<const AttentionFwdTask*>(task), item, scratch);
}

// For instruction sets that compute in fp32 and read either dtype.
template <class Simd>
void run_item_of_dtype(const void* task, int64_t item, void* scratch) {
  if (static_cast<const AttentionFwdTask*>(task)->params.problem.dtype == ROOFGATE_BF16) {
    run_item_of_element<Simd, Bf16>(task, item, scratch);
  } else {
    run_item_of_element<Simd, Fp32>(task, item, scratch);
  }
}

}  // namespace
}  // namespace roofgate
