// The five products of one step of the backward kernel, for one warp.
#pragma once

#include <cstdint>

#include "attention_bwd_sm80_tiles.cuh"
#include "attention_sm80_memory.cuh"
#include "ptx.cuh"

namespace roofgate {

// scores[keys of the warp, queries] += keys * queries^T: S^T of K and Q, dP^T of V and dO. `kept`
// holds the fragments of the keys if the tile keeps them in registers; else they are read again.
template <class Config>
__device__ __forceinline__ void multiply_keys_by_queries(
    typename Config::Scores& scores, const typename Config::KeyFragments& kept,
    const BlockAddress<Config::kRowBytes>& key_address,
    const BlockAddress<Config::kRowBytes>& query_address) {
#pragma unroll Config::kUnrolledHeadSteps
  for (int step = 0; step < Config::kHeadSteps; ++step) {
    uint32_t keys[4];
    if constexpr (Config::kKvInRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) keys[i] = kept[step][i];
    } else {
      ptx::ldmatrix_x4(keys, key_address.at(0, step));
    }
#pragma unroll
    for (int block = 0; block < Config::kQueryBlocks; ++block) {
      uint32_t queries[4];
      ptx::ldmatrix_x4(queries, query_address.at(block, step));
      Config::Element::mma_m16n8k16(scores[2 * block], keys, queries[0], queries[1]);
      Config::Element::mma_m16n8k16(scores[2 * block + 1], keys, queries[2], queries[3]);
    }
  }
}

// gradient[keys of the warp, head_dim] += scores * rows: dV of P^T and dO, dK of dS^T and Q.
template <class Config>
__device__ __forceinline__ void multiply_scores_by_rows(
    typename Config::KeyGradient& gradient, const typename Config::PackedScores& scores,
    const BlockAddress<Config::kRowBytes>& row_address) {
#pragma unroll
  for (int block = 0; block < Config::kQueryBlocks; ++block) {
#pragma unroll
    for (int step = 0; step < Config::kHeadSteps; ++step) {
      uint32_t rows[4];
      ptx::ldmatrix_x4_trans(rows, row_address.at(block, step));
      Config::Element::mma_m16n8k16(gradient[0][2 * step], scores[block], rows[0], rows[1]);
      Config::Element::mma_m16n8k16(gradient[0][2 * step + 1], scores[block], rows[2], rows[3]);
    }
  }
}

// Two neighbouring score tiles, packed to 16 bits, are one A fragment as they stand.
template <class Config>
__device__ __forceinline__ void pack_scores(typename Config::PackedScores& packed,
                                            const typename Config::Scores& scores) {
#pragma unroll
  for (int block = 0; block < Config::kQueryBlocks; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = &scores[2 * block + i / 2][i % 2 * 2];
      packed[block][i] = Config::Element::pack(pair[0], pair[1]);
    }
  }
}

// Where 16 x 16 blocks of dS stand in its tile: see kDsRowBytes.
template <class Config>
struct DsPlace {
  static constexpr int kStepsDown = Config::kDsRows / 16;

  static __device__ __forceinline__ int row_block(int key_step) { return key_step % kStepsDown; }
  static __device__ __forceinline__ int column_block(int key_step, int query_block) {
    return key_step / kStepsDown * Config::kQueryBlocks + query_block;
  }
};

// Stores dS^T of one warp, which owns the keys of `key_step`, as [key, query].
template <class Config>
__device__ __forceinline__ void store_ds(uint32_t tile, const typename Config::PackedScores& ds,
                                         int key_step, int lane) {
  using Place = DsPlace<Config>;
#pragma unroll
  for (int block = 0; block < Config::kQueryBlocks; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = Place::row_block(key_step) * 16 + i % 2 * 8 + lane / 4;
      const int chunk = Place::column_block(key_step, block) * 2 + i / 2;
      ptx::store_shared_4(tile + swizzled_offset<Config::kDsRowBytes>(row, chunk) + lane % 4 * 4,
                          ds[block][i]);
    }
  }
}

// dq[queries of the warp, part of head_dim] += dS K over 16 keys.
template <class Config>
__device__ __forceinline__ void multiply_ds_by_keys(
    typename Config::QueryGradient& dq, int key_step, int first_query_block, int first_head_step,
    const BlockAddress<Config::kDsRowBytes>& ds_address,
    const BlockAddress<Config::kRowBytes>& key_address) {
  using Place = DsPlace<Config>;
  uint32_t ds[Config::kDqBlocks][4];
#pragma unroll
  for (int block = 0; block < Config::kDqBlocks; ++block) {
    const int column = Place::column_block(key_step, first_query_block + block);
    ptx::ldmatrix_x4_trans(ds[block], ds_address.at(Place::row_block(key_step), column));
  }
#pragma unroll
  for (int step = 0; step < Config::kDqSteps; ++step) {
    uint32_t keys[4];
    ptx::ldmatrix_x4_trans(keys, key_address.at(key_step, first_head_step + step));
#pragma unroll
    for (int block = 0; block < Config::kDqBlocks; ++block) {
      Config::Element::mma_m16n8k16(dq[block][2 * step], ds[block], keys[0], keys[1]);
      Config::Element::mma_m16n8k16(dq[block][2 * step + 1], ds[block], keys[2], keys[3]);
    }
  }
}

}  // namespace roofgate
