// The attention backward kernel for sm_80 and later. attention_bwd_sm80.cu says what it computes
// and why so.
#pragma once

#include <cstdint>

#include "attention_bwd_sm80_arguments.cuh"
#include "attention_bwd_sm80_products.cuh"
#include "attention_bwd_sm80_ptx.cuh"
#include "attention_bwd_sm80_scores.cuh"
#include "attention_bwd_sm80_tiles.cuh"
#include "attention_bwd_sm80_walk.cuh"
#include "attention_sm80_memory.cuh"

namespace roofgate {

// One thread's view of its block's work. All members end up in registers.
template <class Config>
class AttentionBackwardBlock {
 public:
  __device__ AttentionBackwardBlock(const AttentionBackwardArguments& arguments,
                                    const KeyBlock& block, uint32_t shared_memory)
      : arguments_(arguments),
        block_(block),
        k_tile_(shared_memory),
        v_tile_(k_tile_ + Config::kKvBytes),
        q_tiles_(v_tile_ + Config::kKvBytes),
        d_o_tile_(q_tiles_ + 2 * Config::kQueryBytes),
        ds_tile_(d_o_tile_ + Config::kQueryBytes),
        row_numbers_(ds_tile_ + Config::kDsBytes) {}

  __device__ __forceinline__ void visit_all_queries() {
    QueryWalk<Config> walk(arguments_, block_);
    QueryStep step = walk.advance();
    if (!step.exists) return;
    load_keys();
    load_queries(step, buffer_);
    load_d_o(step);
    ptx::cp_async_commit();
    if constexpr (Config::kKvInRegisters) keep_keys();
    while (step.exists) {
      const QueryStep next = walk.advance();
      visit(step, next);
      buffer_ ^= 1;
      step = next;
    }
  }

  // dV through the warp's own rows of V, which nobody else reads; dK through those of K.
  __device__ __forceinline__ void store() {
    const int first_key = block_.first_key + warp() * 16;
    store_gradient(dv_, v_tile_, arguments_.dv, arguments_.dv_stride, first_key);
#pragma unroll
    for (int tile = 0; tile < Config::kHeadDim / 8; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) dk_[0][tile][i] *= arguments_.scale;
    }
    __syncthreads();  // nobody reads K for dQ any more
    store_gradient(dk_, k_tile_, arguments_.dk, arguments_.dk_stride, first_key);
  }

 private:
  static constexpr int kRowBytes = Config::kRowBytes;
  static constexpr int kBlockQ = Config::kBlockQ;
  static constexpr bool kModifies = Config::kMaskKind == MaskKind::kAny;
  using Copier = TileCopier<kRowBytes, Config::kThreads>;

  static __device__ int lane() { return threadIdx.x % 32; }
  static __device__ int warp() { return threadIdx.x / 32; }
  __device__ int head_q(const QueryStep& step) const {
    return block_.head_kv * arguments_.queries_per_kv_head + step.head;
  }
  __device__ uint32_t q_tile(uint32_t buffer) const {
    return q_tiles_ + buffer * Config::kQueryBytes;
  }
  __device__ uint32_t row_numbers(uint32_t buffer) const {
    return row_numbers_ + buffer * Config::kRowNumberBytes;
  }
  __device__ int64_t workspace_tile(const QueryStep& step) const {
    return head_q(step) * arguments_.tiles + block_.sequence.first_tile + step.tile;
  }

  template <int kRows>
  __device__ __forceinline__ void load(uint32_t tile, const uint16_t* tensor,
                                       const int64_t (&stride)[3], int head, int64_t sequence_row,
                                       int first_row, int end_row) const {
    const Copier copier(head_start(tensor, stride, block_.batch, head, sequence_row), stride[2]);
    copier.template start_bounded<kRows>(tile, first_row, end_row);
  }

  __device__ __forceinline__ void load_keys() const {
    const Sequence& sequence = block_.sequence;
    load<Config::kBlockK>(k_tile_, arguments_.k, arguments_.k_stride, block_.head_kv,
                          sequence.first_key, block_.first_key, sequence.seqlen_k);
    load<Config::kBlockK>(v_tile_, arguments_.v, arguments_.v_stride, block_.head_kv,
                          sequence.first_key, block_.first_key, sequence.seqlen_k);
  }

  // Q and the numbers per row of a step.
  __device__ __forceinline__ void load_queries(const QueryStep& step, uint32_t buffer) const {
    const Sequence& sequence = block_.sequence;
    load<kBlockQ>(q_tile(buffer), arguments_.q, arguments_.q_stride, head_q(step),
                  sequence.first_query, step.tile * kBlockQ, sequence.seqlen_q);
    const int chunk = threadIdx.x;
    if (chunk < Config::kRowNumberBytes / kChunkBytes) {
      const float* const numbers =
          arguments_.workspace.rows + workspace_tile(step) * Config::kRowNumbers;
      ptx::cp_async_16(row_numbers(buffer) + chunk * kChunkBytes,
                       numbers + chunk * (kChunkBytes / 4));
    }
  }

  __device__ __forceinline__ void load_d_o(const QueryStep& step) const {
    const Sequence& sequence = block_.sequence;
    load<kBlockQ>(d_o_tile_, arguments_.d_o, arguments_.d_o_stride, head_q(step),
                  sequence.first_query, step.tile * kBlockQ, sequence.seqlen_q);
  }

  __device__ __forceinline__ BlockAddress<kRowBytes> own_rows(uint32_t tile) const {
    return row_fragment_address<kRowBytes>(tile + warp() * 16 * kRowBytes, lane());
  }

  __device__ __forceinline__ void keep_keys() {
    ptx::cp_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int step = 0; step < Config::kHeadSteps; ++step) {
      ptx::ldmatrix_x4(k_kept_[step], own_rows(k_tile_).at(0, step));
      ptx::ldmatrix_x4(v_kept_[step], own_rows(v_tile_).at(0, step));
    }
  }

  // One tile of queries. Q is copied one step ahead into its other buffer; dO has one buffer, free
  // from the second barrier on, when P^T dO and V dO^T are done.
  __device__ __forceinline__ void visit(const QueryStep& step, const QueryStep& next) {
    const LiveSteps live = live_steps(step);
    const bool is_live = live.bits >> warp() & 1;
    ptx::cp_async_wait<0>();
    __syncthreads();  // Q and dO have arrived, and nobody reads the previous Q and dS any more
    if (next.exists) {
      load_queries(next, buffer_ ^ 1);
      ptx::cp_async_commit();
    }
    typename Config::PackedScores ds;
    if (is_live) {
      find_ds(ds, step, live.partial);
      store_ds<Config>(ds_tile_, ds, warp(), lane());
    }
    __syncthreads();  // dS has been stored, and nobody reads this dO any more
    if (next.exists) {
      load_d_o(next);
      ptx::cp_async_commit();
    }
    if (is_live) {
      multiply_scores_by_rows<Config>(
          dk_, ds, row_fragment_address<kRowBytes>(ptx::opaque(q_tile(buffer_)), lane()));
    }
    add_to_dq(step, live.bits);
  }

  // P^T and with it dV, then dP^T and dS^T.
  __device__ __forceinline__ void find_ds(typename Config::PackedScores& ds, const QueryStep& step,
                                          int partial) {
    typename Config::Scores p = {};
    multiply_keys_by_queries<Config>(
        p, k_kept_, own_rows(ptx::opaque(k_tile_)),
        column_fragment_address<kRowBytes>(ptx::opaque(q_tile(buffer_)), lane()));
    // With a modified score p goes on as dP's factor, which is not the probability any more.
    typename Config::PackedScores packed;
    if constexpr (kModifies) {
      typename Config::Scores derivative;
      find_modified_probabilities(p, derivative, step);
      if (partial != 0) hide_invisible(p, step, partial);
      pack_scores<Config>(packed, p);
      multiply(p, derivative);
    } else {
      find_probabilities(p);
      if (partial != 0) hide_invisible(p, step, partial);
      pack_scores<Config>(packed, p);
    }
    const uint32_t d_o = ptx::opaque(d_o_tile_);
    multiply_scores_by_rows<Config>(dv_, packed, row_fragment_address<kRowBytes>(d_o, lane()));

    typename Config::Scores dp;  // begins at -delta, which saves the subtraction
#pragma unroll
    for (int tile = 0; tile < Config::kQueryTiles; ++tile) {
      const float2 minus_delta = row_pair(kBlockQ + tile * 8);
      dp[tile][0] = dp[tile][2] = minus_delta.x;
      dp[tile][1] = dp[tile][3] = minus_delta.y;
    }
    multiply_keys_by_queries<Config>(dp, v_kept_, own_rows(ptx::opaque(v_tile_)),
                                     column_fragment_address<kRowBytes>(d_o, lane()));
    multiply(p, dp);
    pack_scores<Config>(ds, p);
  }

  static __device__ __forceinline__ void multiply(typename Config::Scores& scores,
                                                  const typename Config::Scores& factors) {
#pragma unroll
    for (int tile = 0; tile < Config::kQueryTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[tile][i] *= factors[tile][i];
    }
  }

  // Of the numbers per row, those from `first` on of this lane's two queries. The LSE stand before
  // the deltas.
  __device__ __forceinline__ float2 row_pair(int first) const {
    const uint2 pair = ptx::load_shared_8(row_numbers(buffer_) + (first + lane() % 4 * 2) * 4);
    return {__uint_as_float(pair.x), __uint_as_float(pair.y)};
  }

  __device__ __forceinline__ void find_probabilities(typename Config::Scores& scores) const {
#pragma unroll
    for (int tile = 0; tile < Config::kQueryTiles; ++tile) {
      const float2 lse = row_pair(tile * 8);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float reference = i % 2 == 0 ? lse.x : lse.y;
        scores[tile][i] =
            ptx::exp2_approx(fmaf(scores[tile][i], arguments_.scale_log2, -reference));
      }
    }
  }

  __device__ __forceinline__ void find_modified_probabilities(typename Config::Scores& scores,
                                                              typename Config::Scores& derivative,
                                                              const QueryStep& step) const {
    const Sequence& sequence = block_.sequence;
    const float slope =
        arguments_.alibi_slopes == nullptr
            ? 0.0f
            : arguments_.alibi_slopes[block_.batch * arguments_.alibi_batch_stride + head_q(step)];
    const ScoreModifier modifier = {
        arguments_.softcap, slope,
        first_query(step) + sequence.seqlen_k - sequence.seqlen_q - block_.first_key - first_row()};
#pragma unroll
    for (int tile = 0; tile < Config::kQueryTiles; ++tile) {
      const float2 lse = row_pair(tile * 8);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float score = scores[tile][i] * arguments_.scale;
        derivative[tile][i] = modifier.apply(score, i / 2 * 8, tile * 8 + i % 2);
        scores[tile][i] = ptx::exp2_approx(fmaf(score, kLog2E, i % 2 == 0 ? -lse.x : -lse.y));
      }
    }
  }

  // The lane's first query of a step, and its first key as a row of the block.
  __device__ int first_query(const QueryStep& step) const {
    return step.tile * kBlockQ + lane() % 4 * 2;
  }
  __device__ int first_row() const { return warp() * 16 + lane() / 4; }

  __device__ __forceinline__ LiveSteps live_steps(const QueryStep& step) const {
    if (!has_plan<Config>(arguments_)) {
      return live_in_window<Config>(arguments_, block_, step.tile * kBlockQ);
    }
    const PlanTiles tiles = plan_tiles<Config>(arguments_, block_, step);
    const uint32_t first_half = tiles.kinds[0] == ROOFGATE_TILE_EMPTY ? 0 : 0x0f;
    const uint32_t second_half = tiles.kinds[1] == ROOFGATE_TILE_EMPTY ? 0 : 0xf0;
    const int own = warp() < Config::kKeySteps / 2 ? tiles.kinds[0] : tiles.kinds[1];
    return {first_half | second_half, max(own - ROOFGATE_TILE_FULL, 0)};
  }

  __device__ __forceinline__ void hide_invisible(typename Config::Scores& p, const QueryStep& step,
                                                 int partial) const {
    if (has_plan<Config>(arguments_)) {
      const uint64_t* const words = arguments_.plan_key_bits +
                                    int64_t{partial - 1} * ROOFGATE_PLAN_TILE +
                                    first_row() % ROOFGATE_PLAN_TILE;
      const int shift = first_query(step) % ROOFGATE_PLAN_TILE;
      hide(p, {BitsOfQueries{words[0] >> shift}, BitsOfQueries{words[8] >> shift}});
      return;
    }
    const Sequence& sequence = block_.sequence;
    WindowOfQueries visible[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int key = block_.first_key + first_row() + half * 8;
      visible[half] = {0, kBlockQ};
      if constexpr (Config::kMaskKind != MaskKind::kFull) {
        const int diagonal = key - (sequence.seqlen_k - sequence.seqlen_q) - first_query(step);
        visible[half] = {diagonal - arguments_.window.right, diagonal + arguments_.window.left};
      }
      if (key >= sequence.seqlen_k) visible[half].last = -1;
    }
    hide(p, visible);
  }

  // dQ of the step over the block's keys, added to the sums in global memory.
  __device__ __forceinline__ void add_to_dq(const QueryStep& step, uint32_t live) {
    constexpr uint32_t kAll = (1u << Config::kKeySteps) - 1;
    const int first_block = warp() / Config::kDqParts * Config::kDqBlocks;
    const int first_head_step = warp() % Config::kDqParts * Config::kDqSteps;
    const auto ds_address =
        column_fragment_address<Config::kDsRowBytes>(ptx::opaque(ds_tile_), lane());
    const auto key_address = row_fragment_address<kRowBytes>(ptx::opaque(k_tile_), lane());
    typename Config::QueryGradient dq = {};
    if (live == kAll) {
#pragma unroll
      for (int key_step = 0; key_step < Config::kKeySteps; ++key_step) {
        multiply_ds_by_keys<Config>(dq, key_step, first_block, first_head_step, ds_address,
                                    key_address);
      }
    } else {
#pragma unroll 1
      for (int key_step = 0; key_step < Config::kKeySteps; ++key_step) {
        if (!(live >> key_step & 1)) continue;
        multiply_ds_by_keys<Config>(dq, key_step, first_block, first_head_step, ds_address,
                                    key_address);
      }
    }
    if (arguments_.takes_turns) wait_for_turn(step);
    add_to_sums(dq, workspace_tile(step), first_block, first_head_step * 2);
    if (arguments_.takes_turns) end_turn(step);
  }

  // Every addition is one instruction of a warp to whole cache lines.
  __device__ __forceinline__ void add_to_sums(const typename Config::QueryGradient& dq,
                                              int64_t tile, int first_block,
                                              int first_head_tile) const {
    float* const sums = arguments_.workspace.dq + tile * Config::kDqFloats;
#pragma unroll
    for (int block = 0; block < Config::kDqBlocks; ++block) {
#pragma unroll
      for (int head_tile = 0; head_tile < 2 * Config::kDqSteps; ++head_tile) {
        float* const place =
            sums + dq_offset<Config>(first_block + block, first_head_tile + head_tile, lane());
#pragma unroll
        for (int i = 0; i < 4; i += ptx::kRedWidth) {
          ptx::red_add(place + i * kDqElementStride, &dq[block][head_tile][i]);
        }
      }
    }
  }

  __device__ __forceinline__ void wait_for_turn(const QueryStep& step) const {
    if (warp() == 0) {
      const uint32_t turns = earlier_turns<Config>(arguments_, block_, step);
      if (lane() == 0) ptx::wait_for(arguments_.workspace.counters + workspace_tile(step), turns);
    }
    __syncthreads();
  }

  __device__ __forceinline__ void end_turn(const QueryStep& step) const {
    __syncthreads();
    if (threadIdx.x == 0) ptx::count_up(arguments_.workspace.counters + workspace_tile(step));
  }

  __device__ __forceinline__ void store_gradient(const typename Config::KeyGradient& gradient,
                                                 uint32_t tile, uint16_t* tensor,
                                                 const int64_t (&stride)[3], int first_key) const {
    store_rows<typename Config::Element, kRowBytes>(
        gradient, tile + warp() * 16 * kRowBytes,
        head_start(tensor, stride, block_.batch, block_.head_kv, block_.sequence.first_key),
        stride[2], first_key, block_.sequence.seqlen_k, lane());
  }

  const AttentionBackwardArguments& arguments_;
  const KeyBlock& block_;
  const uint32_t k_tile_;
  const uint32_t v_tile_;
  const uint32_t q_tiles_;
  const uint32_t d_o_tile_;
  const uint32_t ds_tile_;
  const uint32_t row_numbers_;
  uint32_t buffer_ = 0;
  typename Config::KeyFragments k_kept_;
  typename Config::KeyFragments v_kept_;
  typename Config::KeyGradient dk_ = {};
  typename Config::KeyGradient dv_ = {};
};

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    attention_bwd_sm80(const __grid_constant__ AttentionBackwardArguments arguments) {
  extern __shared__ __align__(256) unsigned char shared_memory[];
  // In shared memory, for in registers it would stay across the loop, which has none to spare.
  __shared__ KeyBlock key_block;
  if (threadIdx.x == 0) {
    // Blocks that take turns wait for blocks of smaller index: these must have started, in whatever
    // order the hardware starts them.
    const uint32_t index =
        arguments.takes_turns ? atomicAdd(arguments.workspace.ticket, 1u) : blockIdx.x;
    key_block = find_key_block<Config>(arguments, static_cast<int>(index));
  }
  __syncthreads();
  if (key_block.first_key >= key_block.sequence.seqlen_k) return;
  AttentionBackwardBlock<Config> block(arguments, key_block, ptx::shared_address(shared_memory));
  block.visit_all_queries();
  block.store();
}

}  // namespace roofgate
