// Which tile the attention forward kernel takes on which architecture, chosen when the library is
// built: the build makes one library per architecture and passes -DROOFGATE_SM, so that the host
// (launch) and the device (loops) read one table.
#pragma once

#include <cstdint>

#include "attention_mask.h"
#include "ptx.cuh"
#include "roofgate_abi.h"

#ifndef ROOFGATE_SM
#error "pass -DROOFGATE_SM=80, 86, 89 or 90: the architecture that this library is built for"
#endif

namespace roofgate {

constexpr int kNotesBytes = 40;  // of the kernel's BlockNotes

struct AttentionTile {
  int block_q;          // queries per thread block
  int block_k;          // keys per step of the main loop
  int warps;            // each owns block_q / warps queries, a multiple of 16
  bool q_in_registers;  // else the Q fragments are read from shared memory again for each key tile
  int unrolled_steps;   // of the k16 steps of Q K^T: how far the compiler can read fragments ahead
  int blocks_per_sm;    // for which registers and shared memory suffice
};

// What a tile costs. A warp that owns R queries holds, per lane, R * head_dim / 32 registers of O
// and R * block_k / 32 of scores, plus R * head_dim / 64 if Q stays in registers, and needs about
// 50 more. Shared memory holds (block_q + 2 * block_k) * head_dim * 2 bytes. Each byte that a warp
// reads of K and V feeds R FLOP: at 128 B/clk, 16 queries per warp supply 2048 FLOP/clk to the
// tensor cores and 32 supply 4096.
//
// sm_80 and sm_90. The tensor cores take 2048 FLOP/clk on A100 and, through mma.sync, about 2700 on
// H100: each warp owns 32 queries. 2 blocks per SM of 255 registers per thread, so that one block's
// softmax runs beside the other's products.
// - head_dim 128: 128 O + 64 scores leave no room for Q. 64 KiB of shared memory.
// - head_dim 64: 64 O + 64 scores + 32 Q. 32 KiB.
// - head_dim 256: 16 queries per warp, for 128 O + 32 scores. With Q read anew for every key tile
//   a byte feeds 14 FLOP: 1800 FLOP/clk. A100 has 164 KiB per SM, enough for one block: 8 warps,
//   128 KiB. H100 has 228 KiB: two blocks of 4 warps and 96 KiB are as many warps that need not
//   wait for one another.
//
// sm_86 and sm_89. The tensor cores take 1024 FLOP/clk, for which 16 queries per warp suffice, and
// an SM has 100 KiB of shared memory: no tile takes more than 49 KiB, for 2 blocks per SM.
// - head_dim 128, masked: 64 x 64 wastes less above the diagonal and has registers for Q.
// - head_dim 128, full: 128 x 32 halves the traffic of K and V from L2.
// - head_dim 64: as above.
// - head_dim 256: one block has all of the 99 KiB. 128 x 32 makes that 8 warps, two for each
//   scheduler, where 64 x 64 has one, which nothing covers while it waits.
//
// A mask plan has tiles of 64 keys, and so have the kernels that walk over it: 64 x 64 for head_dim
// 256 on sm_86 and sm_89, where 128 x 64 does not fit.
//
// The tiles of head_dim 128 are those of FlashAttention-2 (flash_fwd_launch_template.h). No
// instance spills; that is what limits unrolled_steps.
#if ROOFGATE_SM == 80 || ROOFGATE_SM == 90
constexpr int unrolled_steps_of_128(MaskKind mask) {
  if (mask == MaskKind::kPlan) return ROOFGATE_SM == 80 ? 1 : 4;
  if (mask == MaskKind::kWindow) return 2;
  return 4;
}
#endif

constexpr AttentionTile attention_fwd_tile(int head_dim, MaskKind mask) {
  constexpr AttentionTile kHeadDim64 = {128, 64, 4, true, 4, 2};
  [[maybe_unused]] const bool walks_plan = mask == MaskKind::kPlan || mask == MaskKind::kAny;
#if ROOFGATE_SM == 86 || ROOFGATE_SM == 89
  if (head_dim == 64) return kHeadDim64;
  if (head_dim == 128) {
    return mask == MaskKind::kFull ? AttentionTile{128, 32, 4, false, 4, 2}
                                   : AttentionTile{64, 64, 4, true, 8, 2};
  }
  return walks_plan ? AttentionTile{64, 64, 4, false, 4, 1}
                    : AttentionTile{128, 32, 8, false, 4, 1};
#elif ROOFGATE_SM == 80 || ROOFGATE_SM == 90
  if (head_dim == 64) return kHeadDim64;
  if (head_dim == 128) return {128, 64, 4, false, unrolled_steps_of_128(mask), 2};
  return ROOFGATE_SM == 80 ? AttentionTile{128, 64, 8, false, 4, 1}
                           : AttentionTile{64, 64, 4, false, 4, 2};
#else
#error "ROOFGATE_SM is not 80, 86, 89 or 90"
#endif
}

// All that one instance of the kernel knows when it is compiled.
template <class Element_, int head_dim, MaskKind mask>
struct AttentionForward {
  using Element = Element_;
  static constexpr AttentionTile kTile = attention_fwd_tile(head_dim, mask);
  static constexpr int kHeadDim = head_dim;
  static constexpr MaskKind kMask = mask;
  // The mask of a tile is looked up when the tile is reached, else it follows from the tile's
  // place.
  static constexpr bool kMaskPerTile = mask == MaskKind::kPlan || mask == MaskKind::kAny;
  static constexpr bool kQInRegisters = kTile.q_in_registers;
  static constexpr int kBlockQ = kTile.block_q;
  static constexpr int kBlockK = kTile.block_k;
  static constexpr int kBlocksPerSm = kTile.blocks_per_sm;
  static constexpr int kThreads = kTile.warps * 32;
  static constexpr int kRowsPerWarp = kBlockQ / kTile.warps;
  static constexpr int kRowBlocks = kRowsPerWarp / 16;  // m16 tiles of a warp
  static constexpr int kHeadSteps = kHeadDim / 16;      // k16 steps of Q K^T, n16 tiles of O
  static constexpr int kUnrolledHeadSteps = kTile.unrolled_steps;
  static constexpr int kKeySteps = kBlockK / 16;  // n16 tiles of the scores, k16 steps of P V

  static constexpr int kRowBytes = kHeadDim * 2;
  static constexpr int kQBytes = kBlockQ * kRowBytes;
  static constexpr int kKvBytes = kBlockK * kRowBytes;
  static constexpr int kMaskBytes = kMaskPerTile ? kBlockQ * 8 : 0;  // 64 keys of each query
  static constexpr int kNotesOffset = kQBytes + 2 * kKvBytes + kMaskBytes;
  static constexpr int kSharedBytes = kNotesOffset + kNotesBytes;

  // Registers of one lane, in the order of the mma fragments.
  using Scores = float[kRowBlocks][kBlockK / 8][4];
  using Output = float[kRowBlocks][kHeadDim / 8][4];
  using QueryFragments =
      uint32_t[kQInRegisters ? kRowBlocks : 1][kQInRegisters ? kHeadSteps : 1][4];

  static_assert(kHeadDim == 64 || kHeadDim == 128 || kHeadDim == 256);
  static_assert(!kQInRegisters || kUnrolledHeadSteps == kHeadSteps, "registers have no index");
  static_assert(kRowsPerWarp % 16 == 0 && kBlockK % 16 == 0);
  static_assert(!kMaskPerTile || kBlockK == ROOFGATE_PLAN_TILE);
  static_assert(kBlockQ == ROOFGATE_PLAN_TILE || kBlockQ == 2 * ROOFGATE_PLAN_TILE);
};

}  // namespace roofgate
