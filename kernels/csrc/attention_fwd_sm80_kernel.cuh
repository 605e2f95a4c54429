// The attention forward kernel for sm_80 and later. attention_fwd_sm80.cu says what it computes and
// why so.
#pragma once

#include <cstdint>

#include "attention_fwd_sm80_scores.cuh"
#include "attention_fwd_sm80_softmax.cuh"
#include "attention_fwd_sm80_tiles.cuh"
#include "attention_fwd_sm80_walk.cuh"
#include "attention_fwd_sm80_work.cuh"
#include "attention_mask.cuh"
#include "attention_sm80_memory.cuh"
#include "ptx.cuh"

namespace roofgate {

// scores[queries of the warp, keys of the tile] = Q K^T, not yet scaled. `q_kept` holds the Q
// fragments if the tile keeps them in registers; else they are read again.
template <class Config>
__device__ __forceinline__ void multiply_queries_by_keys(
    typename Config::Scores& scores, const typename Config::QueryFragments& q_kept,
    const BlockAddress<Config::kRowBytes>& q_address,
    const BlockAddress<Config::kRowBytes>& k_address) {
#pragma unroll Config::kUnrolledHeadSteps
  for (int step = 0; step < Config::kHeadSteps; ++step) {
    uint32_t q[Config::kRowBlocks][4];
#pragma unroll
    for (int block = 0; block < Config::kRowBlocks; ++block) {
      if constexpr (Config::kQInRegisters) {
#pragma unroll
        for (int i = 0; i < 4; ++i) q[block][i] = q_kept[block][step][i];
      } else {
        ptx::ldmatrix_x4(q[block], q_address.at(block, step));
      }
    }
#pragma unroll
    for (int keys = 0; keys < Config::kKeySteps; ++keys) {
      uint32_t k[4];
      ptx::ldmatrix_x4(k, k_address.at(keys, step));
#pragma unroll
      for (int block = 0; block < Config::kRowBlocks; ++block) {
        Config::Element::mma_m16n8k16(scores[block][2 * keys], q[block], k[0], k[1]);
        Config::Element::mma_m16n8k16(scores[block][2 * keys + 1], q[block], k[2], k[3]);
      }
    }
  }
}

// output += P V. Two neighbouring score tiles, packed to 16 bits, are one A fragment as they stand.
template <class Config>
__device__ __forceinline__ void multiply_probabilities_by_values(
    typename Config::Output& output, const typename Config::Scores& probabilities,
    const BlockAddress<Config::kRowBytes>& v_address) {
  using Element = typename Config::Element;
#pragma unroll
  for (int keys = 0; keys < Config::kKeySteps; ++keys) {
    uint32_t p[Config::kRowBlocks][4];
#pragma unroll
    for (int block = 0; block < Config::kRowBlocks; ++block) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &probabilities[block][2 * keys + i / 2][i % 2 * 2];
        p[block][i] = Element::pack(pair[0], pair[1]);
      }
    }
#pragma unroll
    for (int step = 0; step < Config::kHeadSteps; ++step) {
      uint32_t v[4];
      ptx::ldmatrix_x4_trans(v, v_address.at(keys, step));
#pragma unroll
      for (int block = 0; block < Config::kRowBlocks; ++block) {
        Element::mma_m16n8k16(output[block][2 * step], p[block], v[0], v[1]);
        Element::mma_m16n8k16(output[block][2 * step + 1], p[block], v[2], v[3]);
      }
    }
  }
}

// What the main loop seldom needs, which waits in shared memory: registers are what it lacks. So
// the members are volatile, or the compiler would read them ahead and keep them.
struct BlockNotes {
  volatile int first_query;
  volatile int queries;  // of the sequence
  volatile int keys;
  volatile float slope_log2;           // of ALiBi
  const int32_t* volatile plan_tiles;  // of the block's first query
  const uint16_t* volatile k;          // of the block's sequence and head
  const uint16_t* volatile v;

  __device__ SequenceLengths lengths() const { return {queries, keys}; }
};
static_assert(sizeof(BlockNotes) == kNotesBytes);

// One thread's view of its block's work. All members but the notes end up in registers.
template <class Config>
class AttentionBlock {
 public:
  __device__ AttentionBlock(const AttentionForwardArguments& arguments, const AttentionWork& work,
                            unsigned char* shared_memory)
      : arguments_(arguments),
        notes_(*reinterpret_cast<BlockNotes*>(shared_memory + Config::kNotesOffset)),
        q_tile_(ptx::shared_address(shared_memory)),
        k_tile_(q_tile_ + Config::kQBytes),
        v_tile_(k_tile_ + Config::kKvBytes),
        q_address_(row_fragment_address<kRowBytes>(q_tile_ + warp_row() * kRowBytes, lane())),
        k_address_(column_fragment_address<kRowBytes>(k_tile_, lane())),
        v_address_(row_fragment_address<kRowBytes>(v_tile_, lane())) {
    take_notes(work);
  }

  __device__ __forceinline__ void attend_to_all_keys(const AttentionWork& work) {
    if constexpr (Config::kMaskPerTile) {
      attend_to_tiles_found(work);
    } else {
      attend_to_range_of_tiles(work);
    }
  }

  __device__ __forceinline__ void store() {
    softmax_.finish(output_, softmax_scale());
    // Computed anew: kept across the loop, it would take registers that the loop needs.
    const AttentionWork work = attention_work<Config>(arguments_, ptx::opaque(blockIdx.x));
    const int first_query = work.first_query + warp_row();
    store_rows<typename Config::Element, kRowBytes>(
        output_, q_tile_ + warp_row() * kRowBytes,
        arguments_.o +
            head_offset(arguments_, arguments_.o_stride, work.batch, work.head_q, work.first_row_q),
        arguments_.o_stride[2], first_query, work.lengths.queries, lane());

    if (lane() % 4 != 0) return;
    float* lse = arguments_.lse + lse_offset(arguments_, work);
#pragma unroll
    for (int block = 0; block < Config::kRowBlocks; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int query = first_query + block * 16 + half * 8 + lane() / 4;
        if (query < work.lengths.queries) lse[query] = softmax_.maximum[block][half];
      }
    }
  }

 private:
  static constexpr int kRowBytes = Config::kRowBytes;
  static constexpr int kBlockK = Config::kBlockK;
  static constexpr bool kHasWindow =
      Config::kMask == MaskKind::kWindow || Config::kMask == MaskKind::kAny;
  using Copier = TileCopier<kRowBytes, Config::kThreads>;

  static __device__ int lane() { return threadIdx.x % 32; }
  static __device__ int warp_row() { return threadIdx.x / 32 * Config::kRowsPerWarp; }

  __device__ __forceinline__ void take_notes(const AttentionWork& work) {
    if (threadIdx.x == 0) {
      notes_.first_query = work.first_query;
      notes_.queries = work.lengths.queries;
      notes_.keys = work.lengths.keys;
      notes_.k = arguments_.k + head_offset(arguments_, arguments_.k_stride, work.batch,
                                            work.head_kv, work.first_row_k);
      notes_.v = arguments_.v + head_offset(arguments_, arguments_.v_stride, work.batch,
                                            work.head_kv, work.first_row_k);
      if (has_plan()) notes_.plan_tiles = first_plan_tile(arguments_, work);
      if (Config::kMask == MaskKind::kAny && arguments_.alibi_slopes != nullptr) {
        notes_.slope_log2 =
            kLog2E *
            arguments_.alibi_slopes[work.batch * arguments_.alibi_batch_stride + work.head_q];
      }
    }
    __syncthreads();
  }

  __device__ Copier k_copier() const { return Copier(notes_.k, arguments_.k_stride[2]); }
  __device__ Copier v_copier() const { return Copier(notes_.v, arguments_.v_stride[2]); }

  // Scores of kAny are in units of log2 already when they come to the softmax.
  __device__ float softmax_scale() const {
    return Config::kMask == MaskKind::kAny ? 1.0f : arguments_.scale_log2;
  }

  __device__ __forceinline__ bool has_plan() const {
    return Config::kMask == MaskKind::kPlan ||
           (Config::kMask == MaskKind::kAny && arguments_.plan.tiles != nullptr);
  }

  // Backwards: only the first copy of K can reach past its end, and under a causal mask the masked
  // tiles come first. Of a window, those at its left follow after the full ones.
  __device__ __forceinline__ void attend_to_range_of_tiles(const AttentionWork& work) {
    const KeyTiles tiles = key_tiles();
    int tile = tiles.end - 1;
    if (tile < tiles.first) return;
    load_first(work, {tile, ROOFGATE_TILE_PARTIAL});
    const auto next = [&] { return KeyTile{tile > tiles.first ? tile - 1 : -1, 0}; };
    int full_end = max(tiles.full_end, tiles.first);
#pragma unroll 1
    do {
      for (; tile >= full_end; --tile) attend<true>({tile, ROOFGATE_TILE_PARTIAL}, next);
      for (; tile >= tiles.full_first; --tile) attend<false>({tile, ROOFGATE_TILE_FULL}, next);
      full_end = tiles.first;
    } while (Config::kMask == MaskKind::kWindow && tile >= tiles.first);
  }

  __device__ __forceinline__ KeyTiles key_tiles() const {
    const SequenceLengths lengths = notes_.lengths();
    if constexpr (!kHasWindow) {
      return all_key_tiles<kBlockK>(lengths.keys);
    } else {
      const int first_query = notes_.first_query;
      const int end_query = min(first_query + Config::kBlockQ, lengths.queries);
      return window_key_tiles<kBlockK>(first_query, end_query, lengths, arguments_.window);
    }
  }

  __device__ __forceinline__ void attend_to_tiles_found(const AttentionWork& work) {
    if (!has_plan()) {
      const KeyTiles tiles = key_tiles();
      if (tiles.end > tiles.first) walk_ = TileWalk::over_range(tiles.first, tiles.end);
    } else {
      walk_ = TileWalk::over_plan(arguments_.plan_tiles_k);
    }
    KeyTile tile = next_tile();
    if (tile.index < 0) return;
    load_first(work, tile);
#pragma unroll 1
    while (tile.index >= 0) tile = attend<true>(tile, [&] { return next_tile(); });
  }

  __device__ __forceinline__ KeyTile next_tile() {
    if (!has_plan()) return walk_.next_of_range();
    return walk_.next_of_plan([&](int tile) {
      const int32_t* tiles = notes_.plan_tiles + tile;
      constexpr bool kTwoRows = Config::kBlockQ > ROOFGATE_PLAN_TILE;
      const bool exists = tile < arguments_.plan_tiles_k;
      const bool second = kTwoRows && notes_.first_query + ROOFGATE_PLAN_TILE < notes_.queries;
      const int upper = exists ? tiles[0] : ROOFGATE_TILE_EMPTY;
      const int lower = exists && second ? tiles[arguments_.plan_tiles_k] : ROOFGATE_TILE_EMPTY;
      return warp_row() < ROOFGATE_PLAN_TILE ? TilesOfLane{upper, lower}
                                             : TilesOfLane{lower, upper};
    });
  }

  // Q, and K of the first tile.
  __device__ __forceinline__ void load_first(const AttentionWork& work, KeyTile tile) {
    const Copier q_copier(arguments_.q + head_offset(arguments_, arguments_.q_stride, work.batch,
                                                     work.head_q, work.first_row_q),
                          arguments_.q_stride[2]);
    q_copier.template start_bounded<Config::kBlockQ>(q_tile_, work.first_query,
                                                     work.lengths.queries);
    k_copier().template start_bounded<kBlockK>(k_tile_, tile.index * kBlockK, notes_.keys);
    load_mask(tile);
    ptx::cp_async_commit();
    if constexpr (Config::kQInRegisters) {
      ptx::cp_async_wait<0>();
      __syncthreads();
#pragma unroll
      for (int block = 0; block < Config::kRowBlocks; ++block) {
#pragma unroll
        for (int step = 0; step < Config::kHeadSteps; ++step) {
          ptx::ldmatrix_x4(q_kept_[block][step], q_address_.at(block, step));
        }
      }
    }
  }

  // The words of the warp's own rows, if the plan has any for this tile.
  __device__ __forceinline__ void load_mask(KeyTile tile) const {
    if constexpr (Config::kMaskPerTile) {
      constexpr int kLanes = Config::kRowsPerWarp * sizeof(uint64_t) / kChunkBytes;
      if (!has_plan() || tile.kind < ROOFGATE_TILE_PARTIAL || lane() >= kLanes) return;
      const uint64_t* bits = arguments_.plan.query_bits +
                             int64_t{tile.kind - ROOFGATE_TILE_PARTIAL} * ROOFGATE_PLAN_TILE +
                             warp_row() % ROOFGATE_PLAN_TILE;
      ptx::cp_async_16(mask_words() + lane() * kChunkBytes, bits + lane() * 2);
    }
  }

  __device__ uint32_t mask_words() const {
    return v_tile_ + Config::kKvBytes + warp_row() * sizeof(uint64_t);
  }

  // One key tile. V is copied during Q K^T and softmax, and the next K during P V. So one buffer of
  // each is enough, and a step's two barriers are those that hand the buffers over. The second one
  // stands after the softmax rather than before it, because no fragment of V is then read ahead
  // while the scores still take their registers; before it, the compiler spills.
  //
  // kMasked: tile.kind says what the warp has to do, which is the same for all its lanes. A warp
  // that sees nothing of the tile leaves the tensor cores to the others.
  template <bool kMasked, class FindNext>
  __device__ __forceinline__ KeyTile attend(KeyTile tile, const FindNext& find_next) {
    const int first_key = tile.index * kBlockK;
    if (kMasked && kHasWindow && !has_plan()) tile.kind = kind_by_window(first_key);
    const bool sees_any = !kMasked || tile.kind != ROOFGATE_TILE_EMPTY;
    ptx::cp_async_wait<0>();
    __syncthreads();  // K has arrived, and nobody reads the previous V any more
    if (kMasked && first_key + kBlockK > notes_.keys) {
      v_copier().template start_bounded<kBlockK>(v_tile_, first_key, notes_.keys);
    } else {
      v_copier().template start<kBlockK>(v_tile_, first_key);
    }
    ptx::cp_async_commit();

    typename Config::Scores scores = {};
    if (sees_any) {
      multiply_queries_by_keys<Config>(scores, q_kept_, q_address_.for_this_step(),
                                       k_address_.for_this_step());
      modify(scores, first_key);
      if (kMasked && tile.kind != ROOFGATE_TILE_FULL) mask(scores, first_key);
      softmax_.template update<kMasked>(scores, output_, softmax_scale());
    }

    ptx::cp_async_wait<0>();
    __syncthreads();  // V has arrived, and nobody reads this K any more
    const KeyTile next = find_next();
    if (next.index >= 0) {
      k_copier().template start<kBlockK>(k_tile_, next.index * kBlockK);
      load_mask(next);
      ptx::cp_async_commit();
    }
    if (sees_any) {
      multiply_probabilities_by_values<Config>(output_, scores, v_address_.for_this_step());
    }
    return next;
  }

  // What the tile is to the warp, which may see nothing of it, or all.
  __device__ __forceinline__ int kind_by_window(int first_key) const {
    const SequenceLengths lengths = notes_.lengths();
    const int first_query = notes_.first_query + warp_row();
    const int end_query = min(first_query + Config::kRowsPerWarp, lengths.queries);
    return window_tile<kBlockK>(first_key, first_query, end_query, lengths, arguments_.window);
  }

  // How far right of the tile's first key the lane's first query has its diagonal.
  __device__ __forceinline__ int diagonal(int first_key) const {
    return notes_.first_query + warp_row() + lane() / 4 + notes_.lengths().shift() - first_key;
  }

  __device__ __forceinline__ void mask(typename Config::Scores& scores, int first_key) const {
    if constexpr (Config::kMask == MaskKind::kFull) {
      hide_keys_past(scores, notes_.keys - 1 - first_key, lane());
    } else if constexpr (Config::kMask == MaskKind::kWindow) {
      hide_by_window(scores, first_key);
    } else if (has_plan()) {
      hide_keys_by_bits(scores, mask_words(), lane());
    } else {
      hide_by_window(scores, first_key);
    }
  }

  __device__ __forceinline__ void hide_by_window(typename Config::Scores& scores,
                                                 int first_key) const {
    hide_keys_outside(scores, diagonal(first_key), arguments_.window, notes_.keys - 1 - first_key,
                      lane());
  }

  // Softcap and ALiBi, in units of log2.
  __device__ __forceinline__ void modify(typename Config::Scores& scores, int first_key) const {
    if constexpr (Config::kMask == MaskKind::kAny) {
      if (arguments_.softcap_log2 > 0.0f) {
        cap_scores(scores, arguments_.softcap_input, arguments_.softcap_log2);
      } else {
        scale_scores(scores, arguments_.scale_log2);
      }
      if (arguments_.alibi_slopes != nullptr) {
        add_alibi(scores, notes_.slope_log2, diagonal(first_key), lane());
      }
    }
  }

  const AttentionForwardArguments& arguments_;
  BlockNotes& notes_;
  const uint32_t q_tile_;
  const uint32_t k_tile_;
  const uint32_t v_tile_;
  const BlockAddress<kRowBytes> q_address_;
  const BlockAddress<kRowBytes> k_address_;
  const BlockAddress<kRowBytes> v_address_;
  TileWalk walk_;
  typename Config::QueryFragments q_kept_;
  typename Config::Output output_ = {};
  SoftmaxRows<Config::kRowBlocks> softmax_;
};

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    attention_fwd_sm80(const __grid_constant__ AttentionForwardArguments arguments) {
  extern __shared__ __align__(kTileAlignment) unsigned char shared_memory[];
  const AttentionWork work = attention_work<Config>(arguments, blockIdx.x);
  if (work.first_query >= work.lengths.queries) return;
  AttentionBlock<Config> block(arguments, work, shared_memory);
  block.attend_to_all_keys(work);
  block.store();
}

}  // namespace roofgate
