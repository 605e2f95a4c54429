// What the host gives to the kernels of one backward pass, and where sequences lie.
#pragma once

#include <cstdint>

#include "attention_mask.cuh"

namespace roofgate {

// Of every tile of kBlockQ queries of a head, the sums of dQ in fp32, the numbers per row and a
// counter. Tile t of head h is number h * tiles + t. Tiles are whole: there is room past the last
// query.
struct AttentionBackwardWorkspace {
  float* dq;           // tiles in the order of the fragments: see dq_offset
  float* rows;         // per tile: log2(e) * LSE of every query, then -delta of every query
  uint32_t* counters;  // key blocks that have added to the tile's dQ, if they take turns
  uint32_t* ticket;    // blocks of the main kernel that have started, if they take turns
};

struct AttentionBackwardArguments {
  const uint16_t* q;
  const uint16_t* k;
  const uint16_t* v;
  const uint16_t* o;
  const uint16_t* d_o;
  const float* lse;
  uint16_t* dq;
  uint16_t* dk;
  uint16_t* dv;
  int64_t q_stride[3];  // elements: batch, head, position
  int64_t k_stride[3];
  int64_t v_stride[3];
  int64_t o_stride[3];
  int64_t d_o_stride[3];
  int64_t dq_stride[3];
  int64_t dk_stride[3];
  int64_t dv_stride[3];
  const int32_t* cu_seqlens_q;  // null: all of one length
  const int32_t* cu_seqlens_k;
  int64_t total_q;
  AttentionBackwardWorkspace workspace;
  const int32_t* plan_tiles;  // null: no plan
  const uint64_t* plan_key_bits;
  const int32_t* plan_key_order;
  int64_t plan_stride[2];  // batch, head
  const float* alibi_slopes;
  int64_t alibi_batch_stride;
  Window window;
  int64_t tiles;  // of one head, over the whole batch
  int32_t batch;
  int32_t heads_q;
  int32_t heads_kv;
  int32_t queries_per_kv_head;
  int32_t seqlen_q;  // the longest
  int32_t seqlen_k;
  int32_t q_tiles;  // of the longest sequence
  int32_t k_tiles;
  int32_t heads_per_group;  // KV heads whose blocks are in flight together
  int32_t takes_turns;      // key blocks add to a tile of dQ in order
  float scale;
  float scale_log2;  // scale * log2(e)
  float softcap;     // 0: none
};

// One entry of the batch.
struct Sequence {
  int64_t first_query;  // positions in the tensors, beside the batch's strides
  int64_t first_key;
  int64_t first_tile;  // of the head's tiles in the workspace
  int seqlen_q;
  int seqlen_k;
};

// Where sequences lie end to end, the tiles of sequence b begin at tile (cu_seqlens_q[b] + b *
// block_q) / block_q: rounding down loses less than the block_q that each sequence is given.
__device__ __forceinline__ Sequence find_sequence(const AttentionBackwardArguments& arguments,
                                                  int batch, int block_q) {
  if (arguments.cu_seqlens_q == nullptr) {
    return {0, 0, int64_t{batch} * arguments.q_tiles, arguments.seqlen_q, arguments.seqlen_k};
  }
  const int first_query = arguments.cu_seqlens_q[batch];
  const int first_key = arguments.cu_seqlens_k[batch];
  return {first_query, first_key, first_query / block_q + batch,
          arguments.cu_seqlens_q[batch + 1] - first_query,
          arguments.cu_seqlens_k[batch + 1] - first_key};
}

// Where the rows of one head of one sequence begin. The batch stride is 0 where sequences lie end
// to end.
template <class T>
__device__ __forceinline__ T* head_start(T* tensor, const int64_t (&stride)[3], int batch, int head,
                                         int64_t first_row) {
  return tensor + batch * stride[0] + head * stride[1] + first_row * stride[2];
}

}  // namespace roofgate
