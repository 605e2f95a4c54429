// Online softmax over the score fragments of one warp.
// The fragments are those of attention_mask.cuh; the four lanes of a quad share a row.
#pragma once

#include <cstdint>

#include "attention_mask.cuh"
#include "ptx.cuh"

namespace roofgate {

constexpr float kLn2 = 0.693147180559945309f;
constexpr float kLog2E = 1.44269504088896341f;

__device__ __forceinline__ float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

__device__ __forceinline__ float quad_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

// Per lane: the maximum (over the quad) and the sum (over the lane's own columns, until the end) of
// its rows. Scores are unscaled; probability = 2^(scale_log2 * (score - maximum)), with scale_log2
// = scale * log2(e), so that one fused multiply-add and one ex2 make it.
template <int kRowBlocks>
struct SoftmaxRows {
  float maximum[kRowBlocks][2];
  float sum[kRowBlocks][2];

  __device__ SoftmaxRows() {
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        maximum[block][half] = -kInfinity;
        sum[block][half] = 0.0f;
      }
    }
  }

  // Turns scores into probabilities, and rescales the sums and the output to the new maximum.
  // kMasked: a row may have seen no key yet; its maximum is then -inf, which must not be subtracted
  // from itself.
  template <bool kMasked, int kKeyTiles, int kOutputTiles>
  __device__ __forceinline__ void update(float (&scores)[kRowBlocks][kKeyTiles][4],
                                         float (&output)[kRowBlocks][kOutputTiles][4],
                                         float scale_log2) {
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float row_maximum = maximum[block][half];
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile) {
          row_maximum = fmaxf(row_maximum, scores[block][tile][2 * half]);
          row_maximum = fmaxf(row_maximum, scores[block][tile][2 * half + 1]);
        }
        row_maximum = quad_max(row_maximum);
        const float reference = kMasked && row_maximum == -kInfinity ? 0.0f : row_maximum;
        const float scaled_reference = reference * scale_log2;
        const float rescale = ptx::exp2_approx((maximum[block][half] - reference) * scale_log2);
        maximum[block][half] = row_maximum;

        float row_sum = sum[block][half] * rescale;
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
          for (int column = 0; column < 2; ++column) {
            float& score = scores[block][tile][2 * half + column];
            score = ptx::exp2_approx(fmaf(score, scale_log2, -scaled_reference));
            row_sum += score;
          }
        }
        sum[block][half] = row_sum;
#pragma unroll
        for (int tile = 0; tile < kOutputTiles; ++tile) {
          output[block][tile][2 * half] *= rescale;
          output[block][tile][2 * half + 1] *= rescale;
        }
      }
    }
  }

  // Divides the output by the sums of whole rows and leaves the log-sum-exp (natural) in `maximum`.
  // A row without a visible key becomes 0, with log-sum-exp -inf.
  template <int kOutputTiles>
  __device__ __forceinline__ void finish(float (&output)[kRowBlocks][kOutputTiles][4],
                                         float scale_log2) {
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float row_sum = quad_sum(sum[block][half]);
        const bool empty = row_sum == 0.0f;  // not `!(row_sum > 0)`: a NaN has to come out as NaN
        const float inverse = empty ? 0.0f : ptx::reciprocal_approx(row_sum);
        maximum[block][half] =
            empty ? -kInfinity
                  : (maximum[block][half] * scale_log2 + ptx::log2_approx(row_sum)) * kLn2;
#pragma unroll
        for (int tile = 0; tile < kOutputTiles; ++tile) {
          output[block][tile][2 * half] *= inverse;
          output[block][tile][2 * half + 1] *= inverse;
        }
      }
    }
  }
};

}  // namespace roofgate
