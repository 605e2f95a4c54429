// Attention forward for sm_80 and later: O = softmax(modified(scale * Q K^T) + mask) V and its
// log-sum-exp.
//
// The algorithm is FlashAttention-2 (Dao, arXiv 2307.08691). A thread block owns block_q queries of
// one head and walks over the keys in tiles of block_k; a warp owns whole rows, so that the softmax
// needs no exchange between warps. Scores and O stay in registers in fp32, P goes from the
// accumulators of Q K^T into the operands of P V without touching memory, and O is divided by the
// row sums once, at the end. mma.sync.m16n8k16 multiplies, ldmatrix reads swizzled tiles, cp.async
// fills them.
//
// A key tile that a block sees nothing of is not visited, and one that a warp sees nothing of costs
// the warp no product; a tile that it sees all of costs no mask. Masks are windows, whose tiles
// follow from arithmetic, and plans, whose tiles are looked up.
//
// Floors of one call, for N visible scores (batch * heads_q * seqlen_q * seqlen_k, or about half of
// that if causal) and R queries per warp:
//   tensor cores    4 * N * head_dim FLOP      at 2048 FLOP/clk/SM on A100, 1024 on sm_86 and sm_89
//   exponentials    N, with softcap 3 N        at 16 /clk/SM
//   shared memory   4 * N * head_dim / R B     at 128 B/clk/SM, without the Q fragments
//   device memory   Q, K, V and O once, and K and V again for every block_q queries if not in L2;
//                   of a plan 4 B per tile of 64 x 64, and 512 more per partial tile
// On A100, with R = 32, a score of head_dim 128 costs 0.25 clk of tensor cores, 0.06 of
// exponentials and 0.16 of shared memory (Q included): tensor cores bound it. For head_dim 64 that
// is 0.125, 0.06 and 0.06, and the exponentials no longer hide for free. On Hopper mma.sync reaches
// about 2/3 of what wgmma does, so no tuning brings this kernel near that chip's peak.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "attention_fwd_sm80_launch.cuh"
#include "attention_sm80_problem.h"
#include "kernel_launches.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

int validate(const roofgate_attention_fwd_params& params) {
  const roofgate_attention_problem& problem = params.problem;
  if (problem.head_dim != 64 && problem.head_dim != 128 && problem.head_dim != 256) {
    return ROOFGATE_UNSUPPORTED_HEAD_DIM;
  }
  const int status = validate_problem(problem);
  if (status != ROOFGATE_OK) return status;
  return has_16_byte_rows_like_q(problem, params.o, params.o_stride) ? ROOFGATE_OK
                                                                     : ROOFGATE_BAD_ALIGNMENT;
}

template <class Element, int head_dim, MaskKind mask>
constexpr roofgate_kernel_launch_facts launch_facts(const char* kernel) {
  using Config = AttentionForward<Element, head_dim, mask>;
  return {kernel, Config::kThreads, Config::kSharedBytes};
}

}  // namespace

KernelLaunches attention_fwd_launches() {
  using ptx::Bf16;
  using ptx::Fp16;
  static constexpr roofgate_kernel_launch_facts kFacts[] = {
      launch_facts<Bf16, 64, MaskKind::kFull>("attention_fwd<bf16, 64, full>"),
      launch_facts<Bf16, 64, MaskKind::kWindow>("attention_fwd<bf16, 64, window>"),
      launch_facts<Bf16, 64, MaskKind::kPlan>("attention_fwd<bf16, 64, plan>"),
      launch_facts<Bf16, 64, MaskKind::kAny>("attention_fwd<bf16, 64, any>"),
      launch_facts<Bf16, 128, MaskKind::kFull>("attention_fwd<bf16, 128, full>"),
      launch_facts<Bf16, 128, MaskKind::kWindow>("attention_fwd<bf16, 128, window>"),
      launch_facts<Bf16, 128, MaskKind::kPlan>("attention_fwd<bf16, 128, plan>"),
      launch_facts<Bf16, 128, MaskKind::kAny>("attention_fwd<bf16, 128, any>"),
      launch_facts<Bf16, 256, MaskKind::kFull>("attention_fwd<bf16, 256, full>"),
      launch_facts<Bf16, 256, MaskKind::kWindow>("attention_fwd<bf16, 256, window>"),
      launch_facts<Bf16, 256, MaskKind::kPlan>("attention_fwd<bf16, 256, plan>"),
      launch_facts<Bf16, 256, MaskKind::kAny>("attention_fwd<bf16, 256, any>"),
      launch_facts<Fp16, 64, MaskKind::kFull>("attention_fwd<fp16, 64, full>"),
      launch_facts<Fp16, 64, MaskKind::kWindow>("attention_fwd<fp16, 64, window>"),
      launch_facts<Fp16, 64, MaskKind::kPlan>("attention_fwd<fp16, 64, plan>"),
      launch_facts<Fp16, 64, MaskKind::kAny>("attention_fwd<fp16, 64, any>"),
      launch_facts<Fp16, 128, MaskKind::kFull>("attention_fwd<fp16, 128, full>"),
      launch_facts<Fp16, 128, MaskKind::kWindow>("attention_fwd<fp16, 128, window>"),
      launch_facts<Fp16, 128, MaskKind::kPlan>("attention_fwd<fp16, 128, plan>"),
      launch_facts<Fp16, 128, MaskKind::kAny>("attention_fwd<fp16, 128, any>"),
      launch_facts<Fp16, 256, MaskKind::kFull>("attention_fwd<fp16, 256, full>"),
      launch_facts<Fp16, 256, MaskKind::kWindow>("attention_fwd<fp16, 256, window>"),
      launch_facts<Fp16, 256, MaskKind::kPlan>("attention_fwd<fp16, 256, plan>"),
      launch_facts<Fp16, 256, MaskKind::kAny>("attention_fwd<fp16, 256, any>"),
  };
  return kernel_launches(kFacts);
}

}  // namespace roofgate

int roofgate_attention_fwd(const roofgate_attention_fwd_params* params, void* stream) {
  const int status = roofgate::validate(*params);
  if (status != ROOFGATE_OK) return status;
  const roofgate_attention_problem& problem = params->problem;
  if (problem.batch == 0 || problem.heads_q == 0 || problem.seqlen_q == 0) return ROOFGATE_OK;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  switch (problem.head_dim) {
    case 64:
      return roofgate::launch_attention_fwd_64(*params, cuda_stream);
    case 128:
      return roofgate::launch_attention_fwd_128(*params, cuda_stream);
    default:
      return roofgate::launch_attention_fwd_256(*params, cuda_stream);
  }
}
