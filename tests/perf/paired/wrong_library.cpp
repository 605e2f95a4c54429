// A host library with the interface of a real one whose answers are wrong in the way that it was
// compiled for: the tests of perf.paired.host_sides build it.
#include <string.h>

#include "roofgate_abi.h"

namespace {

int answer(const roofgate_attention_fwd_params& params) {
  const roofgate_attention_problem& problem = params.problem;
  const size_t rows = size_t(problem.batch) * problem.heads_q * problem.seqlen_q;
  const size_t bytes = rows * problem.head_dim * (problem.dtype == ROOFGATE_FP32 ? 4 : 2);
#if defined(ANSWERS_ZERO)
  memset(params.o, 0, bytes);
#elif defined(ANSWERS_NAN)
  memset(params.o, 0xff, bytes);
#elif defined(REFUSES)
  return bytes ? ROOFGATE_BAD_SHAPE : ROOFGATE_OK;
#else
  (void)bytes;  // leaves the output as it found it
#endif
  return ROOFGATE_OK;
}

}  // namespace

extern "C" {

int roofgate_abi_version(void) { return ROOFGATE_ABI_VERSION; }
int roofgate_attention_fwd(const roofgate_attention_fwd_params* params, void*) {
  return answer(*params);
}
int roofgate_attention_bwd(roofgate_attention_bwd_params*, void*) { return ROOFGATE_OK; }
int roofgate_ceiling_copy(const roofgate_ceiling_copy_params*, void*) { return ROOFGATE_OK; }
int roofgate_ceiling_flops(roofgate_ceiling_flops_params*, void*) { return ROOFGATE_OK; }
const char* roofgate_status_text(int) { return "bad shape"; }
int roofgate_best_isa(void) { return ROOFGATE_ISA_PORTABLE; }

}  // extern "C"
