// Which tile the attention backward kernel takes on which architecture, as attention_fwd_sm80_tiles
// does for the forward kernel.
#pragma once

#include <cstdint>

#include "attention_bwd_sm80_ptx.cuh"
#include "attention_mask.h"

namespace roofgate {

struct AttentionBackwardTile {
  int block_q;           // queries per step of the main loop
  bool kv_in_registers;  // else the fragments of K and V are read from shared memory at each step
};

// What a tile costs. A block owns 128 keys, for that many divide the traffic of dQ, Q and dO, and
// they are what an entry of a plan's key_order stands for. 8 warps own 16 keys each: more would
// need twice the registers for dK and dV. Per lane these are head_dim, the scores and dP together
// block_q, K and V head_dim / 2 if they stay, and about 50 more: one block of 255 registers per
// thread fills an SM. Shared memory holds K, V, two of Q, one of dO and one of dS.
//
// Per step and warp, S^T, dP^T, dV and dK read block_q rows of Q or dO each, and the first two 16
// rows of K or V, if these are not in registers. dQ reads block_q / row parts rows of dS and
// 1 / column parts of all of K. In bytes per score, over 128 B/clk, against the tensor cores:
//
//   head_dim, block_q, K and V in     B/score   clk of shared memory   A100    sm_86
//   64        64       registers        46            0.36             0.31    0.62
//   128       64       shared memory    90            0.70             0.62    1.25
//   128       32       shared memory   106            0.83                     1.25
//
// So shared memory bounds sm_80 by a little, and sm_86 and sm_89 not at all.
//
// - head_dim 128 on sm_80 and sm_90: 128 KiB, of 163 and 227.
// - head_dim 128 on sm_86 and sm_89: 99 KiB is all there is, so 32 queries per step: 97 KiB.
// - head_dim 64: 72 KiB.
constexpr AttentionBackwardTile attention_bwd_tile(int head_dim) {
  if (head_dim == 64) return {64, true};
#if ROOFGATE_SM == 86 || ROOFGATE_SM == 89
  return {32, false};
#elif ROOFGATE_SM == 80 || ROOFGATE_SM == 90
  return {64, false};
#else
#error "ROOFGATE_SM is not 80, 86, 89 or 90"
#endif
}

// What all kernels of one backward pass agree on: the tiles of queries in which they exchange the
// sums of dQ and the numbers per row.
template <class Element_, int head_dim>
struct AttentionBackwardRows {
  using Element = Element_;
  static constexpr AttentionBackwardTile kTile = attention_bwd_tile(head_dim);
  static constexpr int kHeadDim = head_dim;
  static constexpr int kRowBytes = kHeadDim * 2;
  static constexpr int kBlockQ = kTile.block_q;
  static constexpr int kQueryBlocks = kBlockQ / 16;  // m16 tiles of dQ
  static constexpr int kHeadSteps = kHeadDim / 16;
  static constexpr int kDqFloats = kBlockQ * kHeadDim;  // of one tile of sums
  static constexpr int kRowNumbers = 2 * kBlockQ;       // of one tile: see RowNumbers
  static constexpr int kDeltaThreads = 256;
  static constexpr int kDqThreads = kQueryBlocks * 32;
  static constexpr int kDqSharedBytes = kBlockQ * kRowBytes;

  static_assert(kHeadDim == 64 || kHeadDim == 128);
};

// All that one instance of the main kernel knows when it is compiled.
template <class Element_, int head_dim, MaskKind mask_kind>
struct AttentionBackward : AttentionBackwardRows<Element_, head_dim> {
  using Rows = AttentionBackwardRows<Element_, head_dim>;
  using Rows::kBlockQ;
  using Rows::kHeadDim;
  using Rows::kHeadSteps;
  using Rows::kQueryBlocks;
  using Rows::kRowBytes;
  static constexpr MaskKind kMaskKind = mask_kind;
  static constexpr bool kKvInRegisters = Rows::kTile.kv_in_registers;
  // Of S^T and dP^T: how far the compiler can read fragments ahead, which is what spills.
  static constexpr int kUnrolledHeadSteps = kKvInRegisters ? kHeadSteps : 4;
  static constexpr int kBlockK = 128;
  static constexpr int kWarps = 8;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kKeySteps = kBlockK / 16;  // k16 steps of dQ; warp w owns the keys of step w
  static constexpr int kQueryTiles = kBlockQ / 8;  // n8 tiles of the scores

  // Of dQ a warp computes some queries and a part of head_dim. 32 by 32 reads less of dS and K than
  // 16 by 64, but with modified scores it spills.
  static constexpr int kDqBlocks =
      kQueryBlocks == 4 && kHeadDim == 128 && kMaskKind != MaskKind::kAny ? 2 : 1;
  static constexpr int kDqParts = kWarps / (kQueryBlocks / kDqBlocks);
  static constexpr int kDqSteps = kHeadSteps / kDqParts;  // n16 tiles of a part

  // dS is stored as [key, query], in rows of 64 queries for the swizzle: with 32 queries per step,
  // the second half of the keys stands to the right of the first.
  static constexpr int kDsRowBytes = 128;
  static constexpr int kDsRows = kBlockK * kBlockQ / 64;

  static constexpr int kKvBytes = kBlockK * kRowBytes;
  static constexpr int kQueryBytes = kBlockQ * kRowBytes;
  static constexpr int kDsBytes = kDsRows * kDsRowBytes;
  static constexpr int kRowNumberBytes = Rows::kRowNumbers * 4;
  static constexpr int kSharedBytes =
      2 * kKvBytes + 3 * kQueryBytes + kDsBytes + 2 * kRowNumberBytes;

  // Registers of one lane, in the order of the mma fragments. Scores are transposed: rows are keys.
  using Scores = float[kQueryTiles][4];
  using PackedScores = uint32_t[kQueryBlocks][4];  // A fragments of products that sum over queries
  using QueryGradient = float[kDqBlocks][2 * kDqSteps][4];
  using KeyGradient = float[1][kHeadDim / 8][4];
  using KeyFragments = uint32_t[kKvInRegisters ? kHeadSteps : 1][4];

  static_assert(kBlockQ == 32 || kBlockQ == 64);
  static_assert(kWarps == kKeySteps, "a warp owns 16 keys");
};

}  // namespace roofgate
