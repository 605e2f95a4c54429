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

constexpr int kHeadDimPadding = 32;  // K may be packed with zeros up to a multiple
constexpr int kRowsPerVisit = 8;     // of Q, and of O, that are asked for meanwhile

// How an item multiplies. Whatever else does, has the same four functions.
template <class Simd>
struct VectorArithmetic {
  // Whether the first call to attend writes the output of a query tile instead of adding to it.
  static constexpr bool kBeginsOutput = false;
  // A call to begin precedes those of an item, and one to end follows them.
  static int begin() { return 0; }
  static void end(int) {}

  template <class Element>
  static void pack(const Rows<Element>& k, const Rows<Element>& v, int head_dim, KeyTile& tile) {
    const int padded = round_up(k.count, kChunkSteps * Simd::kElementsPerUnit);
    pack_keys<Simd>(k, padded, head_dim, tile.k);
    pack_values<Simd>(v, padded, head_dim, tile.v);
  }

  static void attend(QueryTile<Simd>& tile, const KeyTile& key_tile, int head_dim,
                     const Scaling& scaling, uint32_t* probabilities) {
    roofgate::attend(tile, key_tile, head_dim, scaling, probabilities);
  }
};

template <class Simd, class Element, class Arithmetic = VectorArithmetic<Simd>>
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
        change_(problem_, fabs(double{problem_.scale})),
        scaling_(change_.is_needed() ? Scaling{1.0f, kHeadroom} : scaling_of(problem_.scale)) {}

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
    const size_t key_units =
        size_t{kTileKeys} / Simd::kElementsPerUnit * round_up(head_dim_, kHeadDimPadding);
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
    const int64_t group_items = int64_t{task_.heads_together} * task_.chunk_count;
    const int64_t first_head = index / group_items * task_.heads_together;
    const int64_t heads_left = problem_.heads_kv - first_head;
    const int64_t heads = heads_left < task_.heads_together ? heads_left : task_.heads_together;
    const AttentionFwdChunk& chunk = task_.chunks[index % group_items / heads];
    batch_ = chunk.batch;
    head_kv_ = first_head + index % group_items % heads;
    sequence_ = sequence_at(problem_, batch_);
    first_row_ = chunk.first_row;
    const int64_t rows_left = int64_t{sequence_.queries} * task_.group - first_row_;
    rows_ = static_cast<int>(rows_left < task_.rows_per_item ? rows_left : task_.rows_per_item);
    tile_count_ = (rows_ + Tile::kRows - 1) / Tile::kRows;
  }

  // The query tiles that need a key tile.
  struct Visits {
    int64_t key;
    int count;
    uint8_t tiles[kMaxTilesPerItem];
  };

  // Tiles of queries are loaded before their first key tile and stored after their last one, not
  // all at once: so memory is waited for beside the arithmetic of others, and a window keeps few of
  // them in the cache.
  void compute() {
    KeyRange keys = {INT64_MAX, 0};
    for (int t = 0; t < tile_count_; ++t) {
      select_tile(t);
      const KeyRange range = tiles_[t].mask.keys();
      if (range.first < keys.first) keys.first = range.first;
      if (range.end > keys.end) keys.end = range.end;
    }
    const auto before = Arithmetic::begin();
    Visits visits[2];
    int current = 0;
    find_visits(keys.first / kTileKeys * kTileKeys, keys.end, visits[current]);
    for (; visits[current].key < keys.end; current = 1 - current) {
      Visits& next = visits[1 - current];
      find_visits(visits[current].key + kTileKeys, keys.end, next);
      pack_key_tile(visits[current].key, keys.end);
      visit_tiles(visits[current], next.key, keys.end);
    }
    for (int t = 0; t < tile_count_; ++t) {
      if (!tiles_[t].is_stored) store_tile(t);
    }
    Arithmetic::end(before);
  }

  // The first key tile from `key` on that a query tile needs; `end` or more where there is none.
  void find_visits(int64_t key, int64_t end, Visits& visits) const {
    visits.count = 0;
    for (; key < end; key += kTileKeys) {
      for (int t = 0; t < tile_count_; ++t) {
        if (tiles_[t].mask.sees(key)) visits.tiles[visits.count++] = static_cast<uint8_t>(t);
      }
      if (visits.count > 0) break;
    }
    visits.key = key;
  }

  // Asks for the keys from `next` on meanwhile, as many for each visit: all at once they would
  // fill the line buffers of the L1 cache and block it.
  void visit_tiles(const Visits& visits, int64_t next, int64_t end) {
    const int64_t next_end = next + kTileKeys < end ? next + kTileKeys : end;
    const int share = (kTileKeys + visits.count - 1) / visits.count;
    for (int i = 0; i < visits.count; ++i) {
      const int t = visits.tiles[i];
      Tile& tile = tiles_[t];
      if (!tile.is_loaded) load_tile(t);
      const int64_t first = next + i * share;
      const int64_t last = first + share < next_end ? first + share : next_end;
      prefetch_keys(problem_.k, problem_.k_stride, first, last);
      prefetch_keys(problem_.v, problem_.v_stride, first, last);
      prefetch_rows(t, tile.prefetched_outputs, [this](Row row) { return output(row); });
      prefetch_queries();
      Arithmetic::attend(tile, key_tile_, head_dim_, scaling_, probabilities_);
      if (tile.mask.keys().end <= next) store_tile(t);
    }
  }

  Row row_at(const RowCursor& cursor) const {
    return {head_kv_ * task_.group + cursor.query_head_in_group(), cursor.position()};
  }

  int64_t first_row_of(int t) const { return first_row_ + int64_t{t} * Tile::kRows; }

  // All of a query tile but its queries.
  void select_tile(int t) {
    constexpr int kLanes = Simd::kLanes;
    Tile& tile = tiles_[t];
    const int64_t first = first_row_of(t);
    const int rows_left = rows_ - t * Tile::kRows;
    tile.rows = rows_left < Tile::kRows ? rows_left : Tile::kRows;
    tile.vectors = (tile.rows + kLanes - 1) / kLanes;
    const size_t padded_units = round_up(head_dim_ / Simd::kElementsPerUnit, kLanes);
    tile.q = queries_ + t * padded_units * Tile::kRows;
    tile.output = outputs_ + size_t{1} * t * head_dim_ * Tile::kRows;
    tile.is_loaded = tile.has_output = tile.is_stored = false;
    tile.prefetched_queries = tile.prefetched_outputs = 0;
    for (int row = 0; row < Tile::kRows; ++row) {
      tile.reference[row] = kNoReference;
      tile.offset[row] = kNoReference * scaling_.scale_log2;
      tile.sum[row] = tile.rounded_sum[row] = 0.0f;
      tile.seen[row] = 0;
    }
    tile.mask.select(problem_, sequence_, batch_, head_kv_, first, tile.rows);
    tile.change = change_.is_needed() ? &change_ : nullptr;
    if (change_.has_slopes()) load_slopes(tile, first);
  }

  void load_tile(int t) {
    constexpr int kLanes = Simd::kLanes;
    Tile& tile = tiles_[t];
    const int64_t first = first_row_of(t);
    tile.is_loaded = true;
    if constexpr (!Arithmetic::kBeginsOutput) {
      memset(tile.output, 0, sizeof(float) * head_dim_ * Tile::kRows);
    }
    const Storage* rows[kLanes];
    RowCursor cursor(first, task_.group);
    for (int column = 0; column < tile.vectors * kLanes; column += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane, cursor.advance()) {
        rows[lane] = column + lane < tile.rows ? query(row_at(cursor)) : nullptr;
      }
      pack_queries<Simd, Element>(rows, head_dim_, problem_.scale < 0, tile.q + column,
                                  reinterpret_cast<uint32_t*>(staging_));
    }
  }

  // Rows that are not in use keep what stood there: it is never read back.
  void load_slopes(Tile& tile, int64_t first_row) const {
    const float* const slopes = problem_.alibi_slopes + batch_ * problem_.alibi_batch_stride;
    RowCursor cursor(first_row, task_.group);
    for (int row = 0; row < tile.rows; ++row, cursor.advance()) {
      const Row at = row_at(cursor);
      tile.diagonal[row] = static_cast<float>(at.position + sequence_.keys - sequence_.queries);
      tile.slope_log2[row] = static_cast<float>(slopes[at.head] * kLog2E);
    }
  }

  // Packs keys [key, key + kTileKeys), as far as they come before `end`.
  void pack_key_tile(int64_t key, int64_t end) {
    key_tile_.first_key = key;
    Arithmetic::pack(rows_of(problem_.k, problem_.k_stride, key, end),
                     rows_of(problem_.v, problem_.v_stride, key, end), head_dim_, key_tile_);
  }

  // Rows [first, end) of K or V; none where end <= first.
  void prefetch_keys(const void* tensor, const int64_t* stride, int64_t first, int64_t end) const {
    const Storage* row = key_rows(tensor, stride, first);
    for (; first < end; ++first, row += stride[2]) prefetch_row<Element>(row, head_dim_);
  }

  // Some of the queries that a later visit loads.
  void prefetch_queries() {
    while (next_to_load_ < tile_count_ && tiles_[next_to_load_].is_loaded) ++next_to_load_;
    if (next_to_load_ == tile_count_) return;
    prefetch_rows(next_to_load_, tiles_[next_to_load_].prefetched_queries,
                  [this](Row row) { return query(row); });
  }

  // The next rows of a query tile after `prefetched`.
  template <class Address>
  void prefetch_rows(int t, int32_t& prefetched, Address address) const {
    const int rows = smaller(tiles_[t].rows - prefetched, kRowsPerVisit);
    if (rows <= 0) return;
    RowCursor cursor(first_row_of(t) + prefetched, task_.group);
    for (int row = 0; row < rows; ++row, cursor.advance()) {
      prefetch_row<Element>(address(row_at(cursor)), head_dim_);
    }
    prefetched += rows;
  }

  const Storage* key_rows(const void* tensor, const int64_t* stride, int64_t key) const {
    return static_cast<const Storage*>(tensor) + batch_offset(stride) + head_kv_ * stride[1] +
           (sequence_.first_key + key) * stride[2];
  }

  // The rows of K or V in [key, end), as many as a tile takes.
  Rows<Element> rows_of(const void* tensor, const int64_t* stride, int64_t key, int64_t end) const {
    return {key_rows(tensor, stride, key), stride[2],
            static_cast<int>(end - key < kTileKeys ? end - key : kTileKeys)};
  }

  // Sequences that lie end to end are one batch.
  int64_t batch_offset(const int64_t* stride) const {
    return problem_.cu_seqlens_q == nullptr ? batch_ * stride[0] : 0;
  }

  // Divides by the sums and writes O and LSE. A row without a key is zero by definition, whatever
  // stood in V.
  void store_tile(int t) {
    constexpr int kLanes = Simd::kLanes;
    Tile& tile = tiles_[t];
    tile.is_stored = true;
    RowCursor cursor(first_row_of(t), task_.group);
    for (int column = 0; column < tile.rows; column += kLanes) {
      Storage* rows[kLanes];
      alignas(64) float factors[kLanes];
      alignas(64) float logarithms[kLanes];
      store_logarithms<Simd>(tile.sum + column, logarithms);
      Simd::store(factors,
                  Simd::divide(Simd::broadcast(1.0f), Simd::load(tile.rounded_sum + column)));
      for (int lane = 0; lane < kLanes; ++lane, cursor.advance()) {
        const int row = column + lane;
        rows[lane] = nullptr;
        if (row >= tile.rows) continue;
        const bool sees_keys = tile.seen[row] != 0;
        Storage* const out = output(row_at(cursor));
        if (sees_keys) {
          rows[lane] = out;
        } else {
          memset(out, 0, sizeof(Storage) * head_dim_);
        }
        const double reference = tile.reference[row] * natural_scale();
        *lse(row_at(cursor)) =
            sees_keys ? static_cast<float>(reference + logarithms[lane]) : -HUGE_VALF;
      }
      unpack_output<Simd, Element>(tile.output + column, factors, head_dim_, rows,
                                   reinterpret_cast<float*>(staging_));
    }
  }

  const Storage* query(Row row) const {
    return static_cast<const Storage*>(problem_.q) + offset_of(row, problem_.q_stride);
  }
  Storage* output(Row row) const {
    return static_cast<Storage*>(params_.o) + offset_of(row, params_.o_stride);
  }
  int64_t offset_of(Row row, const int64_t* stride) const {
    return batch_offset(stride) + row.head * stride[1] +
           (sequence_.first_query + row.position) * stride[2];
  }
  float* lse(Row row) const {
    if (problem_.cu_seqlens_q != nullptr) {
      return params_.lse + row.head * problem_.total_q + sequence_.first_query + row.position;
    }
    return params_.lse + (batch_ * problem_.heads_q + row.head) * problem_.seqlen_q + row.position;
  }

  // From what the tile's references count in to natural logarithms.
  double natural_scale() const {
    return change_.is_needed() ? 1 / kLog2E : fabs(double{problem_.scale});
  }

  const AttentionFwdTask& task_;
  const roofgate_attention_fwd_params& params_;
  const roofgate_attention_problem& problem_;
  const int head_dim_;
  const ScoreChange change_;
  const Scaling scaling_;
  int64_t batch_ = 0;
  int64_t head_kv_ = 0;
  Sequence sequence_{};
  int64_t first_row_ = 0;
  int rows_ = 0;
  int tile_count_ = 0;
  int next_to_load_ = 0;   // query tiles before it are loaded
  Tile* tiles_ = nullptr;  // [tiles_per_item]
  uint32_t* queries_ = nullptr;
  float* outputs_ = nullptr;
  KeyTile key_tile_{};
  uint32_t* probabilities_ = nullptr;  // [units of kTileKeys][kRows]
  char* staging_ = nullptr;            // a vector of rows on its way through a transposition
};

template <class Simd, class Element, class Arithmetic = VectorArithmetic<Simd>>
void run_item_of_element(const void* task, int64_t item, void* scratch) {
  AttentionFwdItem<Simd, Element, Arithmetic>::run(*static_cast<const AttentionFwdTask*>(task),
                                                   item, scratch);
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
