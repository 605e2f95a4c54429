// The attention forward kernel for sm_80 and later. attention_fwd_sm80.cu says what it computes and
// why so.
#pragma once

#include <cstdint>

#include "attention_sm80_memory.cuh"
#include "attention_fwd_sm80_softmax.cuh"
#include "attention_fwd_sm80_tiles.cuh"
#include "ptx.cuh"

namespace roofgate {

struct AttentionForwardArguments {
  const uint16_t* q;
  const uint16_t* k;
  const uint16_t* v;
  uint16_t* o;
  float* lse;
  int64_t q_stride[3];  // elements: batch, head, position
  int64_t k_stride[3];
  int64_t v_stride[3];
  int64_t o_stride[3];
  int32_t batch_heads;  // batch * heads_q
  int32_t heads_q;
  int32_t queries_per_kv_head;
  int32_t seqlen_q;
  int32_t seqlen_k;
  int32_t q_tiles;          // of one head
  int32_t heads_per_group;  // heads whose tiles are in flight together
  float scale_log2;         // softmax scale * log2(e)
};

// The part of the problem that one thread block computes.
struct AttentionWork {
  int batch;
  int head_q;
  int head_kv;
  int first_query;
};

// Blocks start in the order of blockIdx.x. Within a group of heads the last queries go first, since
// under a causal mask they see the most keys, and the light tiles fill the gaps at the end. A group
// is as many heads as have their K and V in L2 together. Counting backwards puts the incomplete
// group first.
__device__ __forceinline__ AttentionWork attention_work(const AttentionForwardArguments& arguments,
                                                        uint32_t block_index, int block_q) {
  const int index = static_cast<int>(gridDim.x - 1 - block_index);
  const int group_size = arguments.heads_per_group * arguments.q_tiles;
  const int first_head = index / group_size * arguments.heads_per_group;
  const int heads = min(arguments.heads_per_group, arguments.batch_heads - first_head);
  const int index_in_group = index % group_size;
  const int batch_head = first_head + index_in_group % heads;
  const int head_q = batch_head % arguments.heads_q;
  return {batch_head / arguments.heads_q, head_q, head_q / arguments.queries_per_kv_head,
          index_in_group / heads * block_q};
}

// Key tiles [0, full) need no mask; [full, end) reach past the last key or above the diagonal.
struct KeyTiles {
  int full;
  int end;
};

template <class Config>
__device__ __forceinline__ KeyTiles key_tiles(int first_query, int seqlen_q, int seqlen_k) {
  constexpr int kBlockK = Config::kBlockK;
  if constexpr (!Config::kCausal) {
    return {seqlen_k / kBlockK, (seqlen_k + kBlockK - 1) / kBlockK};
  } else {
    const int end_query = min(first_query + Config::kBlockQ, seqlen_q);
    const int visible_to_first = max(first_query + 1 + seqlen_k - seqlen_q, 0);
    const int visible_to_last = max(end_query + seqlen_k - seqlen_q, 0);
    return {visible_to_first / kBlockK, (visible_to_last + kBlockK - 1) / kBlockK};
  }
}

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

// One thread's view of its block's work. All members end up in registers.
template <class Config>
class AttentionBlock {
 public:
  __device__ AttentionBlock(const AttentionForwardArguments& arguments, uint32_t shared_memory)
      : AttentionBlock(arguments, attention_work(arguments, blockIdx.x, Config::kBlockQ),
                       shared_memory) {}

  __device__ __forceinline__ void attend_to_all_keys() {
    const KeyTiles tiles =
        key_tiles<Config>(work_.first_query, arguments_.seqlen_q, arguments_.seqlen_k);
    int tile = tiles.end - 1;
    if (tile < 0) return;
    load_first(tile);
    // Backwards: the tiles with a mask come first, and only the first copy of K can reach past its
    // end.
    for (; tile >= tiles.full; --tile) attend<true>(tile);
    for (; tile >= 0; --tile) attend<false>(tile);
  }

  __device__ __forceinline__ void store() {
    softmax_.finish(output_, arguments_.scale_log2);
    // Computed anew: kept across the loop, it would take registers that the loop needs.
    const AttentionWork work = attention_work(arguments_, ptx::opaque(blockIdx.x), Config::kBlockQ);
    const int64_t batch = work.batch;
    const int first_query = work.first_query + warp_row();
    store_rows<typename Config::Element, kRowBytes>(
        output_, q_tile_ + warp_row() * kRowBytes,
        arguments_.o + batch * arguments_.o_stride[0] + work.head_q * arguments_.o_stride[1],
        arguments_.o_stride[2], first_query, arguments_.seqlen_q, lane());

    float* lse = arguments_.lse + (batch * arguments_.heads_q + work.head_q) * arguments_.seqlen_q;
    if (lane() % 4 != 0) return;
#pragma unroll
    for (int block = 0; block < Config::kRowBlocks; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int query = first_query + block * 16 + half * 8 + lane() / 4;
        if (query < arguments_.seqlen_q) lse[query] = softmax_.maximum[block][half];
      }
    }
  }

 private:
  static constexpr int kRowBytes = Config::kRowBytes;
  static constexpr int kBlockK = Config::kBlockK;
  using Copier = TileCopier<kRowBytes, Config::kThreads>;

  __device__ AttentionBlock(const AttentionForwardArguments& arguments, const AttentionWork& work,
                            uint32_t shared_memory)
      : arguments_(arguments),
        work_(work),
        q_tile_(shared_memory),
        k_tile_(q_tile_ + Config::kQBytes),
        v_tile_(k_tile_ + Config::kKvBytes),
        k_copier_(head_start(arguments.k, arguments.k_stride, work.head_kv), arguments.k_stride[2]),
        v_copier_(head_start(arguments.v, arguments.v_stride, work.head_kv), arguments.v_stride[2]),
        q_address_(row_fragment_address<kRowBytes>(q_tile_ + warp_row() * kRowBytes, lane())),
        k_address_(column_fragment_address<kRowBytes>(k_tile_, lane())),
        v_address_(row_fragment_address<kRowBytes>(v_tile_, lane())) {}

  static __device__ int lane() { return threadIdx.x % 32; }
  static __device__ int warp_row() { return threadIdx.x / 32 * Config::kRowsPerWarp; }

  __device__ const uint16_t* head_start(const uint16_t* tensor, const int64_t (&stride)[3],
                                        int head) const {
    return tensor + work_.batch * stride[0] + head * stride[1];
  }

  // Q and the last tile of K.
  __device__ __forceinline__ void load_first(int tile) {
    const Copier q_copier(head_start(arguments_.q, arguments_.q_stride, work_.head_q),
                          arguments_.q_stride[2]);
    q_copier.template start_bounded<Config::kBlockQ>(q_tile_, work_.first_query,
                                                     arguments_.seqlen_q);
    k_copier_.template start_bounded<kBlockK>(k_tile_, tile * kBlockK, arguments_.seqlen_k);
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

  // One key tile. V is copied during Q K^T and softmax, and the next K during P V. So one buffer of
  // each is enough, and a step's two barriers are those that hand the buffers over. The second one
  // stands after the softmax rather than before it, because no fragment of V is then read ahead
  // while the scores still take their registers; before it, the compiler spills.
  template <bool kMasked>
  __device__ __forceinline__ void attend(int tile) {
    const int first_key = tile * kBlockK;
    ptx::cp_async_wait<0>();
    __syncthreads();  // K has arrived, and nobody reads the previous V any more
    if constexpr (kMasked) {
      v_copier_.template start_bounded<kBlockK>(v_tile_, first_key, arguments_.seqlen_k);
    } else {
      v_copier_.template start<kBlockK>(v_tile_, first_key);
    }
    ptx::cp_async_commit();

    typename Config::Scores scores = {};
    multiply_queries_by_keys<Config>(scores, q_kept_, q_address_.for_this_step(),
                                     k_address_.for_this_step());
    if constexpr (kMasked) mask(scores, first_key);
    softmax_.template update<kMasked>(scores, output_, arguments_.scale_log2);

    ptx::cp_async_wait<0>();
    __syncthreads();  // V has arrived, and nobody reads this K any more
    if (tile > 0) {
      k_copier_.template start<kBlockK>(k_tile_, first_key - kBlockK);
      ptx::cp_async_commit();
    }
    multiply_probabilities_by_values<Config>(output_, scores, v_address_.for_this_step());
  }

  __device__ __forceinline__ void mask(typename Config::Scores& scores, int first_key) const {
    const int query = work_.first_query + warp_row() + lane() / 4;
    const int last_key = arguments_.seqlen_k - 1 - first_key;
    mask_scores<Config::kCausal>(scores, query - (arguments_.seqlen_q - 1) + last_key, last_key,
                                 lane());
  }

  const AttentionForwardArguments& arguments_;
  const AttentionWork work_;
  const uint32_t q_tile_;
  const uint32_t k_tile_;
  const uint32_t v_tile_;
  const Copier k_copier_;
  const Copier v_copier_;
  const BlockAddress<kRowBytes> q_address_;
  const BlockAddress<kRowBytes> k_address_;
  const BlockAddress<kRowBytes> v_address_;
  typename Config::QueryFragments q_kept_;
  typename Config::Output output_ = {};
  SoftmaxRows<Config::kRowBlocks> softmax_;
};

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    attention_fwd_sm80(const __grid_constant__ AttentionForwardArguments arguments) {
  extern __shared__ __align__(256) unsigned char shared_memory[];
  AttentionBlock<Config> block(arguments, ptx::shared_address(shared_memory));
  block.attend_to_all_keys();
  block.store();
}

}  // namespace roofgate
