// Entry point of the host attention forward: checks the parameters, picks the instruction set, cuts
// the call into items and runs them.
#include "attention_fwd_cpu.h"

#include <algorithm>
#include <new>

#include "attention_cpu_problem.h"
#include "attention_fwd_cpu_items.h"
#include "cpu_isa.h"
#include "cpu_thread_pool.h"

namespace roofgate {
namespace {

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
  const roofgate_status status = check_problem(params.problem);
  return status == ROOFGATE_OK ? check_pointers(params) : status;
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
