// Entry point of the host attention forward: checks the parameters, picks the instruction set, cuts
// the call into items and runs them.
#include "attention_fwd_cpu.h"

#include <math.h>

#include <algorithm>
#include <new>

#include "attention_fwd_cpu_items.h"
#include "cpu_isa.h"
#include "cpu_thread_pool.h"

namespace roofgate {
namespace {

constexpr int32_t kHeadDimGranule = 16;
constexpr int32_t kMaxHeadDim = 256;

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

// Host memory, so the offsets themselves can be held to the sizes of the tensors.
roofgate_status check_sequences(const roofgate_attention_problem& p) {
  if (p.cu_seqlens_q == nullptr) return ROOFGATE_OK;
  if (p.cu_seqlens_q[0] < 0 || p.cu_seqlens_k[0] < 0) return ROOFGATE_BAD_SHAPE;
  for (int32_t b = 0; b < p.batch; ++b) {
    const int64_t queries = int64_t{p.cu_seqlens_q[b + 1]} - p.cu_seqlens_q[b];
    const int64_t keys = int64_t{p.cu_seqlens_k[b + 1]} - p.cu_seqlens_k[b];
    if (queries < 0 || keys < 0 || queries > p.seqlen_q || keys > p.seqlen_k) {
      return ROOFGATE_BAD_SHAPE;
    }
  }
  return p.cu_seqlens_q[p.batch] > p.total_q ? ROOFGATE_BAD_SHAPE : ROOFGATE_OK;
}

roofgate_status check_mask(const roofgate_attention_problem& p) {
  const bool has_sequences = p.cu_seqlens_q != nullptr;
  const bool has_window = p.window_left != -1 || p.window_right != -1;
  if (has_sequences != (p.cu_seqlens_k != nullptr)) return ROOFGATE_BAD_MASK;
  if (p.window_left < -1 || p.window_right < -1) return ROOFGATE_BAD_MASK;
  if (!(p.softcap >= 0) || isinf(p.softcap)) return ROOFGATE_BAD_MASK;
  if (p.plan.tiles == nullptr) return ROOFGATE_OK;
  // Without a partial tile nobody reads the bits, and without an order the items come as they lie.
  return has_sequences || has_window ? ROOFGATE_BAD_MASK : ROOFGATE_OK;
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
  if (const roofgate_status status = check_mask(p)) return status;
  if (const roofgate_status status = check_sequences(p)) return status;
  return check_pointers(params);
}

const AttentionFwdKernel& kernel_for(roofgate_isa isa, int32_t dtype) {
#if defined(__x86_64__)
  if (isa == ROOFGATE_ISA_AMX_BF16 && dtype == ROOFGATE_BF16) return kAttentionFwdAmxBf16;
  if (isa == ROOFGATE_ISA_AVX512_BF16 && dtype == ROOFGATE_BF16) return kAttentionFwdAvx512Bf16;
  if (isa >= ROOFGATE_ISA_AVX512) return kAttentionFwdAvx512;
  if (isa == ROOFGATE_ISA_AVX2) return kAttentionFwdAvx2;
#endif
  (void)isa, (void)dtype;
  return kAttentionFwdPortable;
}

roofgate_status run(const roofgate_attention_fwd_params& params, const AttentionFwdKernel& kernel) {
  AttentionFwdTask task{};
  task.params = params;
  try {
    const std::vector<AttentionFwdChunk> chunks = cut_into_chunks(kernel.rows_per_tile, &task);
    task.chunks = chunks.data();
    task.chunk_count = static_cast<int64_t>(chunks.size());
    task.heads_together = std::clamp(params.problem.threads, 1, params.problem.heads_kv);
    const int64_t items = task.chunk_count * params.problem.heads_kv;
    return run_items(params.problem.threads, items, kernel.scratch_bytes(task), kernel.run_item,
                     &task);
  } catch (const std::bad_alloc&) {
    return ROOFGATE_OUT_OF_MEMORY;
  }
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

  return run(*params, kernel_for(isa, p.dtype));
}
