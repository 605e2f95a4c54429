// Entry point of the host attention backward: checks the parameters, picks the instruction set,
// cuts the call into items and runs them.
#include "attention_bwd_cpu.h"

#include <algorithm>

#include "attention_cpu_problem.h"
#include "cpu_isa.h"
#include "cpu_thread_pool.h"

namespace roofgate {
namespace {

constexpr int64_t kTile = ROOFGATE_PLAN_TILE;
// Packing a query tile and adding its dQ cost as much as half a tile of keys, so an item wants many
// keys; but their packed K and V, dK and dV have to stay in the L2 cache (2 MB where there are tile
// registers).
constexpr int64_t kItemBytes = 896 * 1024;
constexpr int64_t kMinTilesPerItem = 2;
// The cut decides in which order dQ is summed, so it may not depend on the number of threads.
constexpr int64_t kWantedItems = 32;
constexpr int64_t kWorkspaceAlignment = 256;

int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

bool has_queries(const roofgate_attention_problem& p) {
  return p.batch > 0 && p.heads_q > 0 && p.seqlen_q > 0;
}
bool has_keys(const roofgate_attention_problem& p) {
  return p.batch > 0 && p.heads_kv > 0 && p.seqlen_k > 0;
}

// Pointers matter only where an element stands behind them.
roofgate_status check_pointers(const roofgate_attention_bwd_params& params) {
  const roofgate_attention_problem& p = params.problem;
  const void* const of_queries[] = {p.q, params.o, params.d_o, params.dq};
  const void* const of_keys[] = {p.k, p.v, params.dk, params.dv};
  const size_t element_bytes = p.dtype == ROOFGATE_FP32 ? 4 : 2;
  for (const void* pointer : of_queries) {
    if (has_queries(p) && !pointer) return ROOFGATE_BAD_SHAPE;
    if (!is_aligned(pointer, element_bytes)) return ROOFGATE_BAD_ALIGNMENT;
  }
  for (const void* pointer : of_keys) {
    if (has_keys(p) && !pointer) return ROOFGATE_BAD_SHAPE;
    if (!is_aligned(pointer, element_bytes)) return ROOFGATE_BAD_ALIGNMENT;
  }
  if (has_queries(p) && !params.lse) return ROOFGATE_BAD_SHAPE;
  return is_aligned(params.lse, sizeof(float)) ? ROOFGATE_OK : ROOFGATE_BAD_ALIGNMENT;
}

roofgate_status check(const roofgate_attention_bwd_params& params) {
  const roofgate_status status = check_problem(params.problem);
  return status == ROOFGATE_OK ? check_pointers(params) : status;
}

const AttentionBwdKernel& kernel_for(roofgate_isa isa, int32_t dtype) {
  const int index = dtype == ROOFGATE_BF16 ? 0 : 1;
#if defined(__x86_64__)
  if (isa >= ROOFGATE_ISA_AMX_BF16 && dtype == ROOFGATE_BF16) return kAttentionBwdAmxBf16;
  if (isa >= ROOFGATE_ISA_AVX512_BF16 && dtype == ROOFGATE_BF16) return kAttentionBwdAvx512Bf16;
  if (isa >= ROOFGATE_ISA_AVX512) return kAttentionBwdAvx512[index];
  if (isa >= ROOFGATE_ISA_AVX2) return kAttentionBwdAvx2[index];
#endif
  (void)isa;
  return kAttentionBwdPortable[index];
}

AttentionBwdTask cut_into_items(const roofgate_attention_bwd_params& params,
                                const AttentionBwdKernel& kernel) {
  const roofgate_attention_problem& p = params.problem;
  AttentionBwdTask task{};
  task.params = params;
  task.group = p.heads_kv > 0 ? p.heads_q / p.heads_kv : 0;
  const int64_t keys = p.cu_seqlens_k ? p.cu_seqlens_k[p.batch] : int64_t{p.batch} * p.seqlen_k;
  const int64_t tile_bytes = kTile * p.head_dim * kernel.item_bytes_per_element;
  const int64_t most_tiles = std::max(kItemBytes / tile_bytes, kMinTilesPerItem);
  const int64_t wanted_tiles = keys * p.heads_kv / kTile / kWantedItems;
  task.tiles_per_item =
      static_cast<int32_t>(std::clamp(wanted_tiles, kMinTilesPerItem, most_tiles));
  const int64_t key_tiles = divide_up(p.seqlen_k, kTile);
  task.chunks = std::max<int64_t>(divide_up(key_tiles, task.tiles_per_item), 1);
  task.query_tiles = divide_up(p.seqlen_q, kTile);
  task.turns_per_head = p.cu_seqlens_q ? p.total_q / kTile + p.batch : p.batch * task.query_tiles;
  return task;
}

// Lays the workspace out from `base` on; returns the bytes it takes, at least 1.
int64_t carve_workspace(char* base, AttentionBwdTask& task) {
  const roofgate_attention_problem& p = task.params.problem;
  int64_t used = 0;
  const auto take = [&](int64_t bytes) {
    char* const buffer = base + used;
    used += divide_up(bytes, kWorkspaceAlignment) * kWorkspaceAlignment;
    return buffer;
  };
  const int64_t rows = p.heads_q * (p.cu_seqlens_q ? p.total_q : int64_t{p.batch} * p.seqlen_q);
  task.delta = reinterpret_cast<float*>(take(rows * int64_t{sizeof(float)}));
  task.turns = reinterpret_cast<int32_t*>(take(p.heads_q * task.turns_per_head * int64_t{4}));
  // With a single chunk dQ has nothing to wait for.
  const int64_t sums = task.chunks > 1 ? rows * p.head_dim : 0;
  task.dq = reinterpret_cast<float*>(take(sums * int64_t{sizeof(float)}));
  return std::max<int64_t>(used, 1);
}

roofgate_status run(AttentionBwdTask& task, const AttentionBwdKernel& kernel) {
  const roofgate_attention_problem& p = task.params.problem;
  const int64_t query_items = int64_t{p.batch} * p.heads_q * task.query_tiles;
  if (const roofgate_status status =
          run_items(p.threads, query_items, 0, kernel.prepare_item, &task)) {
    return status;
  }
  return run_items(p.threads, task.chunks * p.batch * p.heads_kv, kernel.scratch_bytes(task),
                   kernel.run_item, &task);
}

}  // namespace
}  // namespace roofgate

extern "C" int roofgate_attention_bwd(roofgate_attention_bwd_params* params, void*) {
  using namespace roofgate;
  if (params == nullptr) return ROOFGATE_BAD_SHAPE;
  const roofgate_attention_problem& p = params->problem;
  if (const roofgate_status status = check(*params)) return status;
  roofgate_isa isa;
  if (const roofgate_status status = resolve_isa(p.isa, &isa)) return status;

  const AttentionBwdKernel& kernel = kernel_for(isa, p.dtype);
  AttentionBwdTask task = cut_into_items(*params, kernel);
  const int64_t bytes = carve_workspace(static_cast<char*>(params->workspace), task);
  if (params->workspace == nullptr) {
    params->workspace_bytes = bytes;
    return ROOFGATE_OK;
  }
  if (params->workspace_bytes < bytes) return ROOFGATE_BAD_WORKSPACE;
  if (!is_aligned(params->workspace, kWorkspaceAlignment)) return ROOFGATE_BAD_WORKSPACE;
  if (!has_queries(p) && !has_keys(p)) return ROOFGATE_OK;
  return run(task, kernel);
}
