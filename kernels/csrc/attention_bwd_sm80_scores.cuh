// What masks and modified scores do to the transposed score fragments of one warp.
//
// Of each m16n8 tile of scores, a lane holds keys lane / 4 (half 0) and lane / 4 + 8 (half 1), and
// of these the queries 2 * (lane % 4) and its right neighbour:
//   scores[query tile of 8][2 * half + column]
#pragma once

#include <cstdint>

#include "attention_bwd_sm80_rows.cuh"
#include "attention_bwd_sm80_walk.cuh"
#include "ptx.cuh"

namespace roofgate {

// The queries of a step that one row (key) of the lane is visible to, in whatever way.
struct WindowOfQueries {
  int first;
  int last;

  __device__ __forceinline__ bool sees(int column) const {
    return column >= first && column <= last;
  }
};

struct BitsOfQueries {
  uint64_t bits;

  __device__ __forceinline__ bool sees(int column) const { return bits >> column & 1; }
};

// Sets the probabilities of invisible pairs to 0. After the exponential and not before it, so that
// -infinity meets no scale of 0; whatever a hidden score was, NaN included, it is gone.
template <class Visible, int kQueryTiles>
__device__ __forceinline__ void hide(float (&probabilities)[kQueryTiles][4],
                                     const Visible (&visible)[2]) {
#pragma unroll
  for (int tile = 0; tile < kQueryTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!visible[i / 2].sees(tile * 8 + i % 2)) probabilities[tile][i] = 0.0f;
    }
  }
}

// Which of the block's 16-key steps see anything of a tile of queries (a bit each).
struct LiveSteps {
  uint32_t bits;
  int partial;  // 0: the warp's keys see all of it; else, with a plan, 1 + the number of their tile
};

// Of a step without a plan. Keys past the last are hidden as if by a mask: their score is 0, and 2
// to the power of 0 - LSE could be infinite.
template <class Config>
__device__ __forceinline__ LiveSteps live_in_window(const AttentionBackwardArguments& arguments,
                                                    const KeyBlock& block, int first_query) {
  constexpr uint32_t kAll = (1u << Config::kKeySteps) - 1;
  const bool reaches_past_end = block.first_key + Config::kBlockK > block.end_key;
  if constexpr (Config::kMaskKind == MaskKind::kFull) {
    return {kAll, reaches_past_end};
  } else {
    const int diagonal = block.sequence.seqlen_k - block.sequence.seqlen_q;
    const int end_query = min(first_query + Config::kBlockQ, block.sequence.seqlen_q);
    // The keys that any of the queries sees, and those that all see, relative to the first.
    const int first_any = first_query + diagonal - arguments.window.left - block.first_key;
    const int last_any = end_query - 1 + diagonal + arguments.window.right - block.first_key;
    const int first_all = first_any + end_query - 1 - first_query;
    const int last_all = last_any - (end_query - 1 - first_query);
    const int first_step = max(first_any, 0) / 16;
    const int last_step = min(last_any / 16, Config::kKeySteps - 1);
    const uint32_t bits = (kAll >> (Config::kKeySteps - 1 - last_step)) & (kAll << first_step);
    return {bits, reaches_past_end || first_all > 0 || last_all < Config::kBlockK - 1};
  }
}

// Softcap and ALiBi, for the scores of one lane and step.
struct ScoreModifier {
  float softcap;       // 0: none
  float slope;         // of ALiBi; 0: none
  int first_distance;  // i + d - j of the lane's first query and key

  // Modifies a scaled score, and returns the derivative of the new one by the old.
  __device__ __forceinline__ float apply(float& score, int key, int query) const {
    float derivative = 1.0f;
    if (softcap > 0.0f) {
      // tanh(x) = 1 - 2 r and its derivative 4 r (1 - r), with r = 1 / (1 + e^2x), whose absolute
      // error is some 2^-23, however large x is.
      const float exponential = ptx::exp2_approx(score * (2.0f * kLog2E / softcap));
      const float r = ptx::reciprocal_approx(1.0f + exponential);
      score = softcap * fmaf(-2.0f, r, 1.0f);
      derivative = 4.0f * r * (1.0f - r);
    }
    score = fmaf(-slope, fabsf(static_cast<float>(first_distance + query - key)), score);
    return derivative;
  }
};

}  // namespace roofgate
