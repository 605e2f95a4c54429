// One item of the host attention backward: a chunk of keys of one KV head meets all queries.
//
//   S = scale * Q K^T   P = exp(S - LSE)   dV = P^T dO
//   dP = dO V^T         dS = P * (dP - rowsum(dO * O))
//   dQ = scale * dS K   dK = scale * dS^T Q
//
// K, V, dK and dV of the chunk stay in the L2 cache while tiles of 64 queries pass by, from the
// last to the first; an Engine holds the packed operands and does the arithmetic. Memory is O(chunk
// * head_dim) per thread and O(queries * head_dim) per call, whatever the lengths.
//
// dQ of a query tile sums over chunks. Chunks add in rising order, each waiting for its turn, so
// the bits depend neither on the number of threads nor on the run. Items of a head are heads_kv *
// batch apart and causal chunks begin at tiles that nobody else needs, so that waits are rare.
#pragma once

#include <math.h>
#include <sched.h>

#include "attention_bwd_cpu.h"
#include "attention_bwd_cpu_mask.h"
#include "attention_bwd_cpu_prefetch.h"
#include "attention_bwd_cpu_scores.h"
#include "attention_cpu_elements.h"

namespace roofgate {
namespace {

constexpr int kMaxHeadDim = 256;
constexpr int kPiece = 16;  // engines hand their sums over in pieces of this many elements

// Lays buffers out one after the other, aligned to cache lines; from a null pointer, only counts.
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

  template <class Value>
  Value* take(int64_t count) {
    char* const buffer = base_ + used_;
    used_ += (static_cast<size_t>(count) * sizeof(Value) + 63) / 64 * 64;
    return reinterpret_cast<Value*>(buffer);
  }
  size_t used() const { return used_; }

 private:
  char* const base_;
  size_t used_ = 0;
};

// Where the rows of a head begin in the LSE, and so in delta and in the sums of dQ.
inline int64_t first_row_of(const roofgate_attention_problem& p, int64_t batch, int64_t head) {
  if (p.cu_seqlens_q) return head * p.total_q + p.cu_seqlens_q[batch];
  return (batch * p.heads_q + head) * p.seqlen_q;
}

// Sequences that lie end to end share one batch of the tensors.
inline int64_t tensor_batch(const roofgate_attention_problem& p, int64_t batch) {
  return p.cu_seqlens_q ? 0 : batch;
}

// Where the turns of a batch begin: as many tiles lie before it, at most.
inline int64_t first_turn(const roofgate_attention_problem& p, int64_t batch) {
  if (p.cu_seqlens_q) return p.cu_seqlens_q[batch] / kTileQueries + batch;
  return batch * ((p.seqlen_q + kTileQueries - 1) / kTileQueries);
}

// Engine: see attention_bwd_cpu_engine.h for what it offers.
template <class Engine>
class AttentionBwdItem {
 public:
  static size_t scratch_bytes(const AttentionBwdTask& task) {
    Carver carver(nullptr);
    const Engine engine(carver, task.params.problem.head_dim, task.tiles_per_item);
    return carver.used();
  }

  static void run(const void* task, int64_t index, void* scratch) {
    AttentionBwdItem item(*static_cast<const AttentionBwdTask*>(task), index, scratch);
    item.compute();
  }

  // rowsum(dO * O) of one query tile, whose turns begin at 0.
  static void prepare(const void* untyped_task, int64_t index, void*) {
    const auto& task = *static_cast<const AttentionBwdTask*>(untyped_task);
    const roofgate_attention_problem& p = task.params.problem;
    const int64_t tile = index % task.query_tiles;
    const int64_t head = index / task.query_tiles % p.heads_q;
    const int64_t batch = index / task.query_tiles / p.heads_q;
    const Sequence sequence = sequence_at(p, batch);
    const int64_t first = tile * kTileQueries;
    const int64_t left = sequence.queries - first;
    if (left <= 0) return;
    task.turns[head * task.turns_per_head + first_turn(p, batch) + tile] = 0;
    float* const delta = task.delta + first_row_of(p, batch, head) + first;
    const auto o = rows_of(task.params.o, task.params.o_stride, tensor_batch(p, batch), head,
                           sequence.first_query + first, left);
    const auto d_o = rows_of(task.params.d_o, task.params.d_o_stride, tensor_batch(p, batch), head,
                             sequence.first_query + first, left);
    for (int row = 0; row < o.count; ++row) delta[row] = dot(o[row], d_o[row], p.head_dim);
  }

 private:
  using Element = typename Engine::Element;
  using Storage = typename Element::Storage;

  AttentionBwdItem(const AttentionBwdTask& task, int64_t index, void* scratch)
      : task_(task),
        params_(task.params),
        problem_(task.params.problem),
        head_dim_(problem_.head_dim),
        chunk_(index / problem_.heads_kv / problem_.batch),
        batch_(index / problem_.heads_kv % problem_.batch),
        tensor_batch_(tensor_batch(problem_, batch_)),
        head_kv_(index % problem_.heads_kv),
        sequence_(sequence_at(problem_, batch_)),
        carver_(scratch),
        engine_(carver_, head_dim_, task.tiles_per_item) {
    const int64_t tiles = (sequence_.keys + kTileKeys - 1) / kTileKeys;
    chunks_ = (tiles + task.tiles_per_item - 1) / task.tiles_per_item;
    first_tile_ = chunk_ * task.tiles_per_item;
    const int64_t left = tiles - first_tile_;
    tiles_ = static_cast<int>(left < task.tiles_per_item ? left : task.tiles_per_item);
  }

  void compute() {
    if (chunk_ >= chunks_) {
      // Without a key there is no chunk, but dQ is there to be written.
      if (chunk_ == 0) meet_queries();
      return;
    }
    engine_.begin();
    for (int tile = 0; tile < tiles_; ++tile) {
      const int64_t key = (first_tile_ + tile) * kTileKeys;
      const int64_t position = sequence_.first_key + key, left = sequence_.keys - key;
      engine_.load_keys(
          tile, rows_of(problem_.k, problem_.k_stride, tensor_batch_, head_kv_, position, left),
          rows_of(problem_.v, problem_.v_stride, tensor_batch_, head_kv_, position, left));
    }
    meet_queries();
    engine_.flush();
    for (int tile = 0; tile < tiles_; ++tile) store_keys(tile);
    engine_.end();
  }

  void meet_queries() {
    const int64_t query_tiles = (sequence_.queries + kTileQueries - 1) / kTileQueries;
    for (int64_t head = head_kv_ * task_.group; head < (head_kv_ + 1) * task_.group; ++head) {
      const TileMask mask(problem_, sequence_, batch_, head);
      const ScoreRules rules = ScoreRules::of(problem_, batch_, head);
      for (int64_t tile = query_tiles - 1; tile >= 0; --tile) {
        if (meets(mask, tile, chunk_)) {
          meet_query_tile(mask, rules, head, tile);
        } else if (chunk_ == 0 && next_chunk(mask, tile) < 0) {
          store_zeros(head, tile);
        }
      }
    }
  }

  // Whether the query tile sees any key of the chunk.
  bool meets(const TileMask& mask, int64_t query_tile, int64_t chunk) const {
    const int64_t first = chunk * task_.tiles_per_item;
    const int64_t tiles = (sequence_.keys + kTileKeys - 1) / kTileKeys;
    for (int64_t tile = first; tile < first + task_.tiles_per_item && tile < tiles; ++tile) {
      if (mask.kind(query_tile, tile) != TileKind::kEmpty) return true;
    }
    return false;
  }
  // The neighbouring chunks that the query tile sees; -1: none.
  int64_t previous_chunk(const TileMask& mask, int64_t query_tile) const {
    int64_t chunk = chunk_ - 1;
    while (chunk >= 0 && !meets(mask, query_tile, chunk)) --chunk;
    return chunk;
  }
  int64_t next_chunk(const TileMask& mask, int64_t query_tile) const {
    int64_t chunk = chunk_ + 1;
    while (chunk < chunks_ && !meets(mask, query_tile, chunk)) ++chunk;
    return chunk < chunks_ ? chunk : -1;
  }

  void meet_query_tile(const TileMask& mask, const ScoreRules& rules, int64_t head, int64_t tile) {
    const int64_t first = tile * kTileQueries;
    const int64_t position = sequence_.first_query + first, left = sequence_.queries - first;
    const auto q = rows_of(problem_.q, problem_.q_stride, tensor_batch_, head, position, left);
    engine_.load_queries(
        q, rows_of(params_.d_o, params_.d_o_stride, tensor_batch_, head, position, left));
    const int64_t row = first_row_of(problem_, batch_, head) + first;
    for (int i = 0; i < kTileQueries; ++i) {
      // A row past the end has probabilities of zero.
      lse_log2_[i] = i < q.count ? params_.lse[row + i] * kLog2E : HUGE_VALF;
      delta_[i] = i < q.count ? task_.delta[row + i] : 0.0f;
    }
    if (tile > 0 && chunks_ > 1) begin_prefetch(head, tile - 1);
    uint64_t words[kTileQueries];
    for (int key_tile = 0; key_tile < tiles_; ++key_tile) {
      const int64_t key_tile_of_all = first_tile_ + key_tile;
      const TileKind kind = mask.kind(tile, key_tile_of_all);
      if (kind == TileKind::kEmpty) continue;
      if (kind == TileKind::kPartial) mask.words(tile, key_tile_of_all, words);
      const int64_t distance = first + mask.diagonal() - key_tile_of_all * kTileKeys;
      engine_.attend(key_tile,
                     {rules, kind == TileKind::kPartial ? words : nullptr, lse_log2_, delta_,
                      static_cast<float>(distance)},
                     prefetch_);
    }

    engine_.finish_queries();
    add_to_dq(mask, head, tile, q.count);
  }

  // Has the rows of the query tile that is met next asked for.
  void begin_prefetch(int64_t head, int64_t tile) {
    const int64_t first = tile * kTileQueries;
    const int64_t position = sequence_.first_query + first;
    prefetch_.begin(
        row_at(problem_.q, problem_.q_stride, tensor_batch_, head, position), problem_.q_stride[2],
        row_at(params_.d_o, params_.d_o_stride, tensor_batch_, head, position),
        params_.d_o_stride[2],
        task_.dq + (first_row_of(problem_, batch_, head) + first) * head_dim_, head_dim_);
  }

  // Adds the engine's dQ to that of the chunks before; after the last one, stores the result.
  void add_to_dq(const TileMask& mask, int64_t head, int64_t tile, int rows) {
    const int64_t previous = previous_chunk(mask, tile);
    const bool is_last = next_chunk(mask, tile) < 0;
    int32_t* const turn =
        task_.turns + head * task_.turns_per_head + first_turn(problem_, batch_) + tile;
    wait_for(turn, static_cast<int32_t>(previous + 1));
    const int64_t first_row = first_row_of(problem_, batch_, head) + tile * kTileQueries;
    float* sum = task_.dq + first_row * head_dim_;
    for (int row = 0; row < rows; ++row, sum += head_dim_) {
      Storage* const out = dq_row(head, tile * kTileQueries + row);
      for (int d = 0; d < head_dim_; d += kPiece) {
        float piece[kPiece];
        memcpy(piece, engine_.dq(row, d), sizeof piece);
        if (previous >= 0) {
          for (int i = 0; i < kPiece; ++i) piece[i] += sum[d + i];
        }
        if (is_last) {
          for (int i = 0; i < kPiece; ++i) out[d + i] = Element::narrow(piece[i] * problem_.scale);
        } else {
          memcpy(sum + d, piece, sizeof piece);
        }
      }
    }
    __atomic_store_n(turn, static_cast<int32_t>(chunk_ + 1), __ATOMIC_RELEASE);
  }

  // The chunk that is waited for has begun, on another thread: items start in rising order.
  static void wait_for(const int32_t* turn, int32_t value) {
    constexpr int kLooksBeforeYield = 1000;
    for (int look = 0; __atomic_load_n(turn, __ATOMIC_ACQUIRE) != value; ++look) {
      if (look >= kLooksBeforeYield) {
        sched_yield();
        continue;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }

  void store_zeros(int64_t head, int64_t tile) {
    const int64_t first = tile * kTileQueries;
    for (int64_t row = first; row < first + kTileQueries && row < sequence_.queries; ++row) {
      memset(dq_row(head, row), 0, sizeof(Storage) * head_dim_);
    }
  }

  void store_keys(int tile) {
    engine_.finish_keys(tile);
    const int64_t first = (first_tile_ + tile) * kTileKeys;
    for (int key = 0; key < kTileKeys && first + key < sequence_.keys; ++key) {
      const int64_t position = sequence_.first_key + first + key;
      Storage* const dk = row_at(params_.dk, params_.dk_stride, tensor_batch_, head_kv_, position);
      Storage* const dv = row_at(params_.dv, params_.dv_stride, tensor_batch_, head_kv_, position);
      for (int d = 0; d < head_dim_; d += kPiece) {
        const float* const dk_sum = engine_.dk(tile, key, d);
        const float* const dv_sum = engine_.dv(tile, key, d);
        for (int i = 0; i < kPiece; ++i) {
          dk[d + i] = Element::narrow(dk_sum[i] * problem_.scale);
          dv[d + i] = Element::narrow(dv_sum[i]);
        }
      }
    }
  }

  Storage* dq_row(int64_t head, int64_t query) const {
    return row_at(params_.dq, params_.dq_stride, tensor_batch_, head,
                  sequence_.first_query + query);
  }

  template <class Pointer>
  static auto row_at(Pointer tensor, const int64_t* stride, int64_t batch, int64_t head,
                     int64_t position) {
    const int64_t offset = batch * stride[0] + head * stride[1] + position * stride[2];
    return static_cast<Storage*>(const_cast<void*>(static_cast<const void*>(tensor))) + offset;
  }
  static Rows<Element> rows_of(const void* tensor, const int64_t* stride, int64_t batch,
                               int64_t head, int64_t position, int64_t left) {
    return {row_at(tensor, stride, batch, head, position), stride[2],
            static_cast<int>(left < kTileQueries ? left : kTileQueries)};
  }

  // In 16 sums, which become vectors.
  static float dot(const Storage* a, const Storage* b, int head_dim) {
    float sums[kPiece] = {};
    for (int d = 0; d < head_dim; d += kPiece) {
      for (int i = 0; i < kPiece; ++i)
        sums[i] += Element::widen(a[d + i]) * Element::widen(b[d + i]);
    }
    for (int step = kPiece / 2; step > 0; step /= 2) {
      for (int i = 0; i < step; ++i) sums[i] += sums[i + step];
    }
    return sums[0];
  }

  const AttentionBwdTask& task_;
  const roofgate_attention_bwd_params& params_;
  const roofgate_attention_problem& problem_;
  const int head_dim_;
  const int64_t chunk_;
  const int64_t batch_;
  const int64_t tensor_batch_;
  const int64_t head_kv_;
  const Sequence sequence_;
  Carver carver_;
  Engine engine_;
  int64_t chunks_;      // of the sequence
  int64_t first_tile_;  // of keys
  int tiles_;           // in this chunk
  RowPrefetch prefetch_;
  float lse_log2_[kTileQueries];
  float delta_[kTileQueries];
};

template <class Engine>
constexpr AttentionBwdKernel bwd_kernel_of() {
  using Item = AttentionBwdItem<Engine>;
  return {Engine::kItemBytesPerElement, Item::scratch_bytes, Item::prepare, Item::run};
}

}  // namespace
}  // namespace roofgate
