// What the host attention kernels of all instruction sets share.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "roofgate_abi.h"

namespace roofgate {

// One call, cut into items that threads compute independently. An item is a chunk of rows of one
// (batch, KV head). The query heads of a KV head form one matrix of rows, so that they share each
// tile of K and V: row = position * group + query head within the group.
struct AttentionFwdTask {
  roofgate_attention_fwd_params params;
  int32_t group;           // query heads per KV head
  int64_t rows;            // of one KV head: seqlen_q * group
  int32_t tiles_per_item;  // query tiles that share each packed tile of K and V
  int32_t rows_per_item;
  int64_t chunks;  // items of one KV head
};

// The kernel of one instruction set.
struct AttentionFwdKernel {
  int32_t rows_per_tile;
  size_t (*scratch_bytes)(const AttentionFwdTask& task);
  // `task` is an AttentionFwdTask. Items of a higher index have no more work than lower ones.
  void (*run_item)(const void* task, int64_t item, void* scratch);
};

extern const AttentionFwdKernel kAttentionFwdPortable;
extern const AttentionFwdKernel kAttentionFwdAvx2;
extern const AttentionFwdKernel kAttentionFwdAvx512;
extern const AttentionFwdKernel kAttentionFwdAvx512Bf16;  // bf16 only

}  // namespace roofgate
