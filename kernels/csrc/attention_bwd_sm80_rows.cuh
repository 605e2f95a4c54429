// The two kernels around the main one, a block for each tile of queries: delta before it, the sums
// of dQ to dQ after it. Both are bound by memory: for each query and head the first reads O and dO
// and writes 4 * head_dim + 8 bytes, the second reads 4 * head_dim bytes and writes dQ.
#pragma once

#include <cstdint>

#include "attention_bwd_sm80_arguments.cuh"
#include "attention_bwd_sm80_tiles.cuh"
#include "attention_sm80_memory.cuh"

namespace roofgate {

constexpr float kLog2E = 1.44269504088896341f;

// Where element 0 of an m16n8 tile of dQ stands in the sums of its tile of queries, for one lane;
// the other three follow at multiples of kDqElementStride. Of one element, or on sm_90 of all four,
// the lanes of a warp lie next to each other, so that it adds whole cache lines at a time.
constexpr int kDqElementStride = ptx::kRedWidth == 4 ? 1 : 32;

template <class Rows>
__device__ __forceinline__ int dq_offset(int query_block, int head_tile, int lane) {
  return (query_block * (Rows::kHeadDim / 8) + head_tile) * 128 + lane * ptx::kRedWidth;
}

// The tile of queries of one block.
struct QueryTile {
  Sequence sequence;
  int batch;
  int head;
  int first_query;
  int64_t index;  // in the workspace
};

template <class Rows>
__device__ __forceinline__ QueryTile find_query_tile(const AttentionBackwardArguments& arguments) {
  const int tile = blockIdx.x % arguments.q_tiles;
  const int batch_head = blockIdx.x / arguments.q_tiles;
  const int batch = batch_head / arguments.heads_q;
  const int head = batch_head % arguments.heads_q;
  const Sequence sequence = find_sequence(arguments, batch, Rows::kBlockQ);
  return {sequence, batch, head, tile * Rows::kBlockQ,
          head * arguments.tiles + sequence.first_tile + tile};
}

// The part of dot(dO, O) of one row that 8 elements make.
template <class Element>
__device__ __forceinline__ float dot(const uint4& a, const uint4& b) {
  const uint32_t pairs[4][2] = {{a.x, b.x}, {a.y, b.y}, {a.z, b.z}, {a.w, b.w}};
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 left = ptx::unpack<Element>(pairs[i][0]);
    const float2 right = ptx::unpack<Element>(pairs[i][1]);
    sum = fmaf(left.x, right.x, fmaf(left.y, right.y, sum));
  }
  return sum;
}

// delta = dot(dO, O) of every query of the tile; its sums of dQ become 0.
template <class Rows>
__global__ void __launch_bounds__(Rows::kDeltaThreads)
    attention_bwd_delta_sm80(const __grid_constant__ AttentionBackwardArguments arguments) {
  constexpr int kLanesPerRow = Rows::kHeadDim / kChunkElements;
  constexpr int kRowsPerPass = Rows::kDeltaThreads / kLanesPerRow;
  const AttentionBackwardWorkspace& workspace = arguments.workspace;
  if (blockIdx.x == 0 && threadIdx.x == 0) *workspace.ticket = 0;
  const QueryTile tile = find_query_tile<Rows>(arguments);
  if (tile.first_query >= tile.sequence.seqlen_q) return;
  if (threadIdx.x == 0) workspace.counters[tile.index] = 0;

  const auto dq = reinterpret_cast<float4*>(workspace.dq + tile.index * Rows::kDqFloats);
  for (int i = threadIdx.x; i < Rows::kDqFloats / 4; i += Rows::kDeltaThreads) {
    dq[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }

  const int64_t first_row = tile.sequence.first_query;
  const int64_t column = threadIdx.x % kLanesPerRow * kChunkElements;
  const uint16_t* const o =
      head_start(arguments.o, arguments.o_stride, tile.batch, tile.head, first_row) + column;
  const uint16_t* const d_o =
      head_start(arguments.d_o, arguments.d_o_stride, tile.batch, tile.head, first_row) + column;
  const float* const lse =
      arguments.lse +
      (arguments.cu_seqlens_q == nullptr
           ? (int64_t{tile.batch} * arguments.heads_q + tile.head) * arguments.seqlen_q
           : tile.head * arguments.total_q + first_row);
  float* const rows = workspace.rows + tile.index * Rows::kRowNumbers;
#pragma unroll
  for (int pass = 0; pass < Rows::kBlockQ; pass += kRowsPerPass) {
    const int row = pass + threadIdx.x / kLanesPerRow;
    const int64_t query = tile.first_query + row;
    const bool exists = query < tile.sequence.seqlen_q;
    float delta = 0.0f;
    if (exists) {
      delta =
          dot<typename Rows::Element>(ptx::load_global_16(d_o + query * arguments.d_o_stride[2]),
                                      ptx::load_global_16(o + query * arguments.o_stride[2]));
    }
#pragma unroll
    for (int distance = kLanesPerRow / 2; distance > 0; distance /= 2) {
      delta += __shfl_xor_sync(0xffffffffu, delta, distance);
    }
    if (threadIdx.x % kLanesPerRow == 0) {
      // Of rows that see no key, and of those past the last, all probabilities must become 0. That
      // is 2^(score - infinity), never 2^(score + infinity).
      const float row_lse = exists ? lse[query] : -kInfinity;
      rows[row] = row_lse == -kInfinity ? kInfinity : row_lse * kLog2E;
      rows[Rows::kBlockQ + row] = -delta;
    }
  }
}

// dQ = scale * its sums, in 16 bits.
template <class Rows>
__global__ void __launch_bounds__(Rows::kDqThreads)
    attention_bwd_dq_sm80(const __grid_constant__ AttentionBackwardArguments arguments) {
  extern __shared__ __align__(256) unsigned char shared_memory[];
  const QueryTile tile = find_query_tile<Rows>(arguments);
  if (tile.first_query >= tile.sequence.seqlen_q) return;
  const int lane = threadIdx.x % 32;
  const int query_block = threadIdx.x / 32;
  const float* const sums = arguments.workspace.dq + tile.index * Rows::kDqFloats;
  float rows[1][Rows::kHeadDim / 8][4];
#pragma unroll
  for (int head_tile = 0; head_tile < Rows::kHeadDim / 8; ++head_tile) {
    const float* const source = sums + dq_offset<Rows>(query_block, head_tile, lane);
    if constexpr (ptx::kRedWidth == 4) {
      const float4 value = *reinterpret_cast<const float4*>(source);
      rows[0][head_tile][0] = value.x * arguments.scale;
      rows[0][head_tile][1] = value.y * arguments.scale;
      rows[0][head_tile][2] = value.z * arguments.scale;
      rows[0][head_tile][3] = value.w * arguments.scale;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        rows[0][head_tile][i] = source[i * kDqElementStride] * arguments.scale;
      }
    }
  }
  const uint32_t staging = ptx::shared_address(shared_memory) + query_block * 16 * Rows::kRowBytes;
  store_rows<typename Rows::Element, Rows::kRowBytes>(
      rows, staging,
      head_start(arguments.dq, arguments.dq_stride, tile.batch, tile.head,
                 tile.sequence.first_query),
      arguments.dq_stride[2], tile.first_query + query_block * 16, tile.sequence.seqlen_q, lane);
}

}  // namespace roofgate
