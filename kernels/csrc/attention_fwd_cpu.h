// What the host attention kernels of all instruction sets share.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "roofgate_abi.h"

namespace roofgate {

// Rows [first_row, first_row + rows_per_item) of a sequence, as far as there are so many.
struct AttentionFwdChunk {
  int64_t batch;
  int64_t first_row;
};

constexpr int kMaxTilesPerItem = 24;  // query tiles, whatever the cache would hold

// One call, cut into items that threads compute independently. An item is a chunk of rows of one KV
// head. The query heads of a KV head form one matrix of rows, so that they share each tile of K and
// V: row = position * group + query head within the group.
struct AttentionFwdTask {
  roofgate_attention_fwd_params params;
  int32_t group;           // query heads per KV head
  int32_t tiles_per_item;  // query tiles that share each packed tile of K and V
  int32_t rows_per_item;
  const AttentionFwdChunk* chunks;
  int64_t chunk_count;
  // Items come by groups of so many KV heads (the last one may have fewer), by chunks within a
  // group and by heads within a chunk: a thread that goes on with another chunk of a head finds its
  // K and V in the cache.
  int32_t heads_together;
};

// The kernel of one instruction set.
struct AttentionFwdKernel {
  int32_t rows_per_tile;
  size_t (*scratch_bytes)(const AttentionFwdTask& task);
  // `task` is an AttentionFwdTask.
  void (*run_item)(const void* task, int64_t item, void* scratch);
};

extern const AttentionFwdKernel kAttentionFwdPortable;
extern const AttentionFwdKernel kAttentionFwdAvx2;
extern const AttentionFwdKernel kAttentionFwdAvx512;
extern const AttentionFwdKernel kAttentionFwdAvx512Bf16;  // bf16 only
extern const AttentionFwdKernel kAttentionFwdAmxBf16;     // likewise

}  // namespace roofgate
