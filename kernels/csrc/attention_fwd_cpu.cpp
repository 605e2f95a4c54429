// Entry point of the host attention forward: checks the parameters, picks the instruction set, cuts
// the call into items and runs them.
#include "attention_fwd_cpu.h"

#include <algorithm>

#include "cpu_isa.h"
#include "cpu_thread_pool.h"

namespace roofgate {
namespace {

constexpr int32_t kHeadDimGranule = 16;
constexpr int32_t kMaxHeadDim = 256;
// Packing a tile of K and V costs as much as 5 query rows of arithmetic on it, so some hundred rows
// hide it; but their packed Q and O have to stay in the L2 cache.
constexpr int64_t kMaxTilesPerItem = 16;
constexpr int64_t kItemBytes = 384 * 1024;
// Enough items for the last ones to even out the finish of the threads.
constexpr int32_t kItemsPerThread = 8;

bool is_aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

roofgate_status check_shape(const roofgate_attention_problem& p) {
  if (p.batch < 0 || p.heads_q < 0 || p.heads_kv < 0 || p.seqlen_q < 0 || p.seqlen_k < 0) {
    return ROOFGATE_BAD_SHAPE;
  }
  if (p.heads_q > 0 && (p.heads_kv == 0 || p.heads_q % p.heads_kv != 0)) return ROOFGATE_BAD_SHAPE;
  return ROOFGATE_OK;
}

// Pointers matter only where an element stands behind them.
roofgate_status check_pointers(const roofgate_attention_fwd_params& params) {
  const roofgate_attention_problem& p = params.problem;
  const bool writes = p.batch > 0 && p.heads_q > 0 && p.seqlen_q > 0;
  const bool reads_keys = writes && p.seqlen_k > 0;
  if (writes && (!p.q || !params.o || !params.lse)) return ROOFGATE_BAD_SHAPE;
  if (reads_keys && (!p.k || !p.v)) return ROOFGATE_BAD_SHAPE;
  const size_t element_bytes = p.dtype == ROOFGATE_FP32 ? 4 : 2;
  for (const void* pointer : {p.q, p.k, p.v, static_cast<const void*>(params.o)}) {
    if (!is_aligned(pointer, element_bytes)) return ROOFGATE_BAD_ALIGNMENT;
  }
  return is_aligned(params.lse, sizeof(float)) ? ROOFGATE_OK : ROOFGATE_BAD_ALIGNMENT;
}

roofgate_status check(const roofgate_attention_fwd_params& params) {
  const roofgate_attention_problem& p = params.problem;
  if (p.dtype != ROOFGATE_BF16 && p.dtype != ROOFGATE_FP32) return ROOFGATE_UNSUPPORTED_DTYPE;
  if (p.head_dim < kHeadDimGranule || p.head_dim > kMaxHeadDim ||
      p.head_dim % kHeadDimGranule != 0) {
    return ROOFGATE_UNSUPPORTED_HEAD_DIM;
  }
  if (const roofgate_status status = check_shape(p)) return status;
  return check_pointers(params);
}

const AttentionFwdKernel& kernel_for(roofgate_isa isa, int32_t dtype) {
#if defined(__x86_64__)
  if (isa == ROOFGATE_ISA_AVX512_BF16 && dtype == ROOFGATE_BF16) return kAttentionFwdAvx512Bf16;
  if (isa >= ROOFGATE_ISA_AVX512) return kAttentionFwdAvx512;
  if (isa == ROOFGATE_ISA_AVX2) return kAttentionFwdAvx2;
#endif
  (void)isa, (void)dtype;
  return kAttentionFwdPortable;
}

int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

AttentionFwdTask cut_into_items(const roofgate_attention_fwd_params& params,
                                int32_t rows_per_tile) {
  const roofgate_attention_problem& p = params.problem;
  AttentionFwdTask task{};
  task.params = params;
  task.group = p.heads_q / p.heads_kv;
  task.rows = static_cast<int64_t>(p.seqlen_q) * task.group;
  const int64_t tiles = divide_up(task.rows, rows_per_tile) * p.batch * p.heads_kv;
  const int64_t wanted_items = int64_t{kItemsPerThread} * std::max(p.threads, 1);
  const int64_t tile_bytes = int64_t{rows_per_tile} * p.head_dim * 2 * int64_t{sizeof(float)};
  const int64_t most_tiles = std::clamp<int64_t>(kItemBytes / tile_bytes, 1, kMaxTilesPerItem);
  task.tiles_per_item =
      static_cast<int32_t>(std::clamp(tiles / wanted_items, int64_t{1}, most_tiles));
  task.rows_per_item = task.tiles_per_item * rows_per_tile;
  task.chunks = divide_up(task.rows, task.rows_per_item);
  return task;
}

}  // namespace
}  // namespace roofgate

extern "C" int roofgate_attention_fwd(const roofgate_attention_fwd_params* params, void*) {
  using namespace roofgate;
  if (params == nullptr) return ROOFGATE_BAD_SHAPE;
  const roofgate_attention_problem& p = params->problem;
  if (const roofgate_status status = check(*params)) return status;
  roofgate_isa isa;
  if (const roofgate_status status = resolve_isa(p.isa, &isa)) return status;
  if (p.batch == 0 || p.heads_q == 0 || p.seqlen_q == 0) return ROOFGATE_OK;

  const AttentionFwdKernel& kernel = kernel_for(isa, p.dtype);
  const AttentionFwdTask task = cut_into_items(*params, kernel.rows_per_tile);
  return run_items(p.threads, task.chunks * p.batch * p.heads_kv, kernel.scratch_bytes(task),
                   kernel.run_item, &task);
}
