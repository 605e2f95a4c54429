// Which keys a block of the backward kernel owns, and which tiles of queries it visits for them.
#pragma once

#include <cstdint>

#include "attention_bwd_sm80_arguments.cuh"
#include "attention_bwd_sm80_tiles.cuh"
#include "attention_mask.h"
#include "roofgate_abi.h"

namespace roofgate {

constexpr uint32_t kAllLanes = 0xffffffffu;

// The part of the problem that one thread block computes.
struct KeyBlock {
  Sequence sequence;
  int batch;
  int head_kv;
  int tile;  // of kBlockK keys
  int first_key;
  int end_key;  // after the last key that exists
};

template <class Config>
__device__ __forceinline__ bool has_plan(const AttentionBackwardArguments& arguments) {
  if constexpr (Config::kMaskKind == MaskKind::kPlan) return true;
  if constexpr (Config::kMaskKind == MaskKind::kAny) return arguments.plan_tiles != nullptr;
  return false;
}

// Blocks start in the order of their index. A plan says which keys are heaviest. Else the first
// keys of a group of heads go first, for under a causal mask most queries see them; where no window
// makes blocks of different weight a group is one head, whose Q and dO then stay in L2. Blocks that
// take turns need those of their head with fewer keys before them to have started first.
template <class Config>
__device__ __forceinline__ KeyBlock find_key_block(const AttentionBackwardArguments& arguments,
                                                   int index) {
  const int batch_heads = arguments.batch * arguments.heads_kv;
  int batch_head;
  int tile;
  if (has_plan<Config>(arguments) && !arguments.takes_turns) {
    batch_head = index % batch_heads;
    tile = arguments.plan_key_order[index / batch_heads];
  } else {
    const int group_size = arguments.heads_per_group * arguments.k_tiles;
    const int first_head = index / group_size * arguments.heads_per_group;
    const int heads = min(arguments.heads_per_group, batch_heads - first_head);
    const int index_in_group = index % group_size;
    batch_head = first_head + index_in_group % heads;
    tile = index_in_group / heads;
  }
  const int batch = batch_head / arguments.heads_kv;
  const Sequence sequence = find_sequence(arguments, batch, Config::kBlockQ);
  const int first_key = tile * Config::kBlockK;
  return {sequence, batch,     batch_head % arguments.heads_kv,
          tile,     first_key, min(first_key + Config::kBlockK, sequence.seqlen_k)};
}

// One tile of queries of one query head.
struct QueryStep {
  int head;  // of the KV head's query heads
  int tile;
  bool exists;
};

// The tiles of a plan that one row of tiles makes with all keys.
__device__ __forceinline__ int plan_columns(const KeyBlock& block) {
  return (block.sequence.seqlen_k + ROOFGATE_PLAN_TILE - 1) / ROOFGATE_PLAN_TILE;
}

// Their row, for a tile of kBlockQ queries.
template <class Config>
__device__ __forceinline__ const int32_t* plan_row(const AttentionBackwardArguments& arguments,
                                                   const KeyBlock& block, const QueryStep& step) {
  const int64_t row = step.tile * Config::kBlockQ / ROOFGATE_PLAN_TILE;
  const int64_t head = block.head_kv * arguments.queries_per_kv_head + step.head;
  return arguments.plan_tiles + block.batch * arguments.plan_stride[0] +
         head * arguments.plan_stride[1] + row * plan_columns(block);
}

// Those of the block's first and last 64 keys: an enum roofgate_tile each.
struct PlanTiles {
  int kinds[2];

  __device__ __forceinline__ bool is_empty() const {
    return kinds[0] == ROOFGATE_TILE_EMPTY && kinds[1] == ROOFGATE_TILE_EMPTY;
  }
};

template <class Config>
__device__ __forceinline__ PlanTiles plan_tiles(const AttentionBackwardArguments& arguments,
                                                const KeyBlock& block, const QueryStep& step) {
  const int first = 2 * block.tile;
  const int32_t* const tiles = plan_row<Config>(arguments, block, step) + first;
  return {tiles[0], first + 1 < plan_columns(block) ? tiles[1] : ROOFGATE_TILE_EMPTY};
}

// Walks over the visited tiles of queries, one query head after another.
template <class Config>
class QueryWalk {
 public:
  __device__ QueryWalk(const AttentionBackwardArguments& arguments, const KeyBlock& block)
      : arguments_(arguments), block_(block) {
    if (has_plan<Config>(arguments)) {
      end_ = (block.sequence.seqlen_q + kBlockQ - 1) / kBlockQ;
      next_ = 0;
      scan();
      return;
    }
    int first_query = 0;
    int last_query = block.sequence.seqlen_q - 1;
    if constexpr (Config::kMaskKind != MaskKind::kFull) {
      // Key j is seen by queries j - diagonal - right to j - diagonal + left.
      const int diagonal = block.sequence.seqlen_k - block.sequence.seqlen_q;
      first_query = max(first_query, block.first_key - diagonal - arguments.window.right);
      last_query = min(last_query, block.end_key - 1 - diagonal + arguments.window.left);
    }
    first_ = first_query / kBlockQ;
    end_ = last_query < first_query ? first_ : last_query / kBlockQ + 1;
    next_ = first_;
  }

  // The next step; the walk is over when it does not exist.
  __device__ __forceinline__ QueryStep advance() {
    if (has_plan<Config>(arguments_)) return advance_in_plan();
    if (next_ == end_) {
      ++head_;
      next_ = first_;
    }
    const bool exists = first_ < end_ && head_ < arguments_.queries_per_kv_head;
    return {head_, next_++, exists};
  }

 private:
  static constexpr int kBlockQ = Config::kBlockQ;

  __device__ __forceinline__ QueryStep advance_in_plan() {
    while (found_ == 0) {
      next_ += 32;
      if (next_ >= end_) {
        ++head_;
        next_ = 0;
      }
      if (head_ >= arguments_.queries_per_kv_head || end_ == 0) return {0, 0, false};
      scan();
    }
    const int lane = __ffs(found_) - 1;
    found_ &= found_ - 1;
    return {head_, next_ + lane, true};
  }

  // Finds the tiles that are not empty of the 32 from next_. Plans are stored by rows, so each lane
  // reads 8 bytes of another sector: once for 32 tiles, of which a step costs thousands of clocks.
  __device__ __forceinline__ void scan() {
    const int tile = next_ + static_cast<int>(threadIdx.x % 32);
    bool is_empty = true;
    if (tile < end_) {
      is_empty = plan_tiles<Config>(arguments_, block_, QueryStep{head_, tile, true}).is_empty();
    }
    found_ = __ballot_sync(kAllLanes, !is_empty);
  }

  const AttentionBackwardArguments& arguments_;
  const KeyBlock& block_;
  int head_ = 0;
  int first_ = 0;
  int end_ = 0;
  int next_ = 0;        // without a plan: the next tile; with one: the tile of bit 0 of found_
  uint32_t found_ = 0;  // with a plan: tiles that are still to be visited
};

// How many blocks with fewer keys before them add to the dQ of this step: all that visit it. The
// answer is the same in all lanes of a warp.
template <class Config>
__device__ __forceinline__ uint32_t earlier_turns(const AttentionBackwardArguments& arguments,
                                                  const KeyBlock& block, const QueryStep& step) {
  if (has_plan<Config>(arguments)) {
    const int32_t* const row = plan_row<Config>(arguments, block, step);
    uint32_t turns = 0;
    for (int first = 0; first < block.tile; first += 32) {
      const int pair = first + static_cast<int>(threadIdx.x % 32);
      const bool visits = pair < block.tile && (row[2 * pair] != ROOFGATE_TILE_EMPTY ||
                                                row[2 * pair + 1] != ROOFGATE_TILE_EMPTY);
      turns += __popc(__ballot_sync(kAllLanes, visits));
    }
    return turns;
  }
  int first_block = 0;
  if constexpr (Config::kMaskKind != MaskKind::kFull) {
    const int diagonal = block.sequence.seqlen_k - block.sequence.seqlen_q;
    first_block =
        max(step.tile * Config::kBlockQ + diagonal - arguments.window.left, 0) / Config::kBlockK;
  }
  return block.tile - first_block;
}

}  // namespace roofgate
