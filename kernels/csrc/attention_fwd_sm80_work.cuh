// What the attention forward kernel is told, and which part of it a thread block computes.
#pragma once

#include <cstdint>

#include "attention_mask.cuh"
#include "attention_mask.h"

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
  const int32_t* cu_seqlens_q;  // null: all sequences are as long as `lengths`
  const int32_t* cu_seqlens_k;
  int64_t total_q;  // with cu_seqlens
  roofgate_mask_plan plan;
  const float* alibi_slopes;  // null: none
  int64_t alibi_batch_stride;
  SequenceLengths lengths;  // with cu_seqlens, of the longest sequences
  Window window;
  int32_t plan_tiles_q;
  int32_t plan_tiles_k;
  int32_t batch_heads;  // batch * heads_q
  int32_t heads_q;
  int32_t queries_per_kv_head;
  int32_t q_tiles;          // blocks of one head
  int32_t heads_per_group;  // heads whose tiles are in flight together
  float scale_log2;         // softmax scale * log2(e)
  float softcap_log2;       // softcap * log2(e); 0: none
  float softcap_input;      // 2 * scale * log2(e) / softcap
};

// The part of the problem that one thread block computes.
struct AttentionWork {
  int batch;
  int head_q;
  int head_kv;
  int first_query;
  SequenceLengths lengths;
  int first_row_q;  // of the sequence, in tensors of sequences
  int first_row_k;
};

// Which block_q queries of a head go `rank` blocks before the lightest. Under a causal mask later
// queries see more keys; a plan brings its own order, of 128 queries each.
template <class Config>
__device__ __forceinline__ int query_block(const AttentionForwardArguments& arguments, int rank) {
  if constexpr (Config::kMask == MaskKind::kPlan || Config::kMask == MaskKind::kAny) {
    if (Config::kMask == MaskKind::kPlan || arguments.plan.tiles != nullptr) {
      constexpr int kBlocksPerEntry = 2 * ROOFGATE_PLAN_TILE / Config::kBlockQ;
      const int place = arguments.q_tiles - 1 - rank;
      return arguments.plan.query_order[place / kBlocksPerEntry] * kBlocksPerEntry +
             place % kBlocksPerEntry;
    }
  }
  return rank;
}

// Blocks start in the order of blockIdx.x. Within a group of heads the heaviest queries go first,
// and the light ones fill the gaps at the end. A group is as many heads as have their K and V in L2
// together. Counting backwards puts the incomplete group first.
//
// The grid is made for the longest sequence, so a block of a shorter one can begin past its end.
template <class Config>
__device__ __forceinline__ AttentionWork attention_work(const AttentionForwardArguments& arguments,
                                                        uint32_t block_index) {
  const int index = static_cast<int>(gridDim.x - 1 - block_index);
  const int group_size = arguments.heads_per_group * arguments.q_tiles;
  const int first_head = index / group_size * arguments.heads_per_group;
  const int heads = min(arguments.heads_per_group, arguments.batch_heads - first_head);
  const int index_in_group = index % group_size;
  const int batch_head = first_head + index_in_group % heads;

  AttentionWork work;
  work.batch = batch_head / arguments.heads_q;
  work.head_q = batch_head % arguments.heads_q;
  work.head_kv = work.head_q / arguments.queries_per_kv_head;
  work.first_query = query_block<Config>(arguments, index_in_group / heads) * Config::kBlockQ;
  work.lengths = arguments.lengths;
  work.first_row_q = 0;
  work.first_row_k = 0;
  if (arguments.cu_seqlens_q != nullptr) {
    work.first_row_q = arguments.cu_seqlens_q[work.batch];
    work.first_row_k = arguments.cu_seqlens_k[work.batch];
    work.lengths.queries = arguments.cu_seqlens_q[work.batch + 1] - work.first_row_q;
    work.lengths.keys = arguments.cu_seqlens_k[work.batch + 1] - work.first_row_k;
  }
  return work;
}

// Where the rows of a head and sequence begin. Tensors of sequences have no batch stride.
__device__ __forceinline__ int64_t head_offset(const AttentionForwardArguments& arguments,
                                               const int64_t (&stride)[3], int batch, int head,
                                               int first_row) {
  const bool sequences = arguments.cu_seqlens_q != nullptr;
  return (sequences ? first_row * stride[2] : batch * stride[0]) + head * stride[1];
}

// Of the sequence's first query.
__device__ __forceinline__ int64_t lse_offset(const AttentionForwardArguments& arguments,
                                              const AttentionWork& work) {
  if (arguments.cu_seqlens_q != nullptr) {
    return work.head_q * arguments.total_q + work.first_row_q;
  }
  return (int64_t{work.batch} * arguments.heads_q + work.head_q) * arguments.lengths.queries;
}

// The row of the plan's tiles in which the block's first query lies.
__device__ __forceinline__ const int32_t* first_plan_tile(
    const AttentionForwardArguments& arguments, const AttentionWork& work) {
  const roofgate_mask_plan& plan = arguments.plan;
  const int64_t row = work.first_query / ROOFGATE_PLAN_TILE;
  return plan.tiles + work.batch * plan.tiles_stride[0] + work.head_q * plan.tiles_stride[1] +
         row * arguments.plan_tiles_k;
}

}  // namespace roofgate
