// What softcap and ALiBi make of the scores of one warp, in fragments as in attention_mask.cuh.
#pragma once

#include <cstdint>

#include "ptx.cuh"

namespace roofgate {

// score -> cap * tanh(score * input_scale / (2 * log2(e))), by tanh(u) = 1 - 2 / (1 + e^2u): two
// MUFU instructions and three more per score. The error of tanh is below 2^-21, absolutely: two of
// its roundings are of numbers near 1. tanh.approx, one MUFU, is 2^10 times as wrong, more than
// fp16 can hide.
template <int kRowBlocks, int kKeyTiles>
__device__ __forceinline__ void cap_scores(float (&scores)[kRowBlocks][kKeyTiles][4],
                                           float input_scale, float cap) {
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (float& score : scores[block][tile]) {
        const float exponential = ptx::exp2_approx(score * input_scale);
        score = fmaf(-2.0f * cap, ptx::reciprocal_approx(exponential + 1.0f), cap);
      }
    }
  }
}

template <int kRowBlocks, int kKeyTiles>
__device__ __forceinline__ void scale_scores(float (&scores)[kRowBlocks][kKeyTiles][4],
                                             float scale) {
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (float& score : scores[block][tile]) score *= scale;
    }
  }
}

// Subtracts slope * |distance of query and key|. `diagonal` is where distance 0 lies in the lane's
// first row, counted from the first key of the tile; one further right in each row after it.
template <int kRowBlocks, int kKeyTiles>
__device__ __forceinline__ void add_alibi(float (&scores)[kRowBlocks][kKeyTiles][4], float slope,
                                          int diagonal, int lane) {
  // Exact: sequences are shorter than what fp32 counts to, wherever a bias still tells keys apart.
  const float lane_diagonal = static_cast<float>(diagonal - lane % 4 * 2);
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float offset = static_cast<float>(block * 16 + i / 2 * 8 - tile * 8 - i % 2);
        scores[block][tile][i] =
            fmaf(-slope, fabsf(lane_diagonal + offset), scores[block][tile][i]);
      }
    }
  }
}

}  // namespace roofgate
