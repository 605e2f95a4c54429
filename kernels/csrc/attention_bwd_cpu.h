// What the host kernels of the attention backward share over all instruction sets.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "roofgate_abi.h"

namespace roofgate {

// One call, cut into items that threads compute. An item is a chunk of keys of one KV head: it owns
// dK and dV of those keys, and adds its share of dQ to the sum of the chunks before it.
struct AttentionBwdTask {
  roofgate_attention_bwd_params params;
  int32_t group;           // query heads per KV head
  int32_t tiles_per_item;  // of keys
  int64_t chunks;          // of the longest sequence
  int64_t query_tiles;     // of the longest sequence
  int64_t turns_per_head;  // query tiles over all batches, at most
  // In the workspace:
  float* delta;    // like the LSE: rowsum(dO * O)
  int32_t* turns;  // [heads_q][turns_per_head]: 1 + the chunk that added to dq last, 0 before
  float* dq;       // rows like the LSE, [head_dim]: sum over those chunks, without the scale
};

// The kernel of one instruction set and dtype.
struct AttentionBwdKernel {
  int32_t item_bytes_per_element;  // of an item's buffers, per key and head_dim
  size_t (*scratch_bytes)(const AttentionBwdTask& task);
  // Fills delta and turns of one query tile: batch * heads_q * query_tiles items.
  void (*prepare_item)(const void* task, int64_t item, void* scratch);
  // chunks * batch * heads_kv items. May wait for items of lower index, so they start in order.
  void (*run_item)(const void* task, int64_t item, void* scratch);
};

extern const AttentionBwdKernel kAttentionBwdPortable[2];  // by enum of dtype: bf16, fp32
extern const AttentionBwdKernel kAttentionBwdAvx2[2];
extern const AttentionBwdKernel kAttentionBwdAvx512[2];
extern const AttentionBwdKernel kAttentionBwdAvx512Bf16;
extern const AttentionBwdKernel kAttentionBwdAmxBf16;

}  // namespace roofgate
