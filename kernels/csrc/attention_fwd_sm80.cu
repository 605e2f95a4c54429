// Attention forward for sm_80 and later: O = softmax(scale * Q K^T + mask) V and its log-sum-exp.
//
// The algorithm is FlashAttention-2 (Dao, arXiv 2307.08691). A thread block owns block_q queries of
// one head and walks over the keys in tiles of block_k; a warp owns whole rows, so that the softmax
// needs no exchange between warps. Scores and O stay in registers in fp32, P goes from the
// accumulators of Q K^T into the operands of P V without touching memory, and O is divided by the
// row sums once, at the end. mma.sync.m16n8k16 multiplies, ldmatrix reads swizzled tiles, cp.async
// fills them.
//
// Floors of one call, for N visible scores (batch * heads_q * seqlen_q * seqlen_k, or about half of
// that if causal) and R queries per warp:
//   tensor cores    4 * N * head_dim FLOP      at 2048 FLOP/clk/SM on A100, 1024 on sm_86 and sm_89
//   exponentials    N                          at 16 /clk/SM
//   shared memory   4 * N * head_dim / R B     at 128 B/clk/SM, without the Q fragments
//   device memory   Q, K, V and O once, and K and V again for every block_q queries if not in L2
// On A100, with R = 32, a score of head_dim 128 costs 0.25 clk of tensor cores, 0.06 of
// exponentials and 0.16 of shared memory (Q included): tensor cores bound it. For head_dim 64 that
// is 0.125, 0.06 and 0.06, and the exponentials no longer hide for free. On Hopper mma.sync reaches
// about 2/3 of what wgmma does, so no tuning brings this kernel near that chip's peak.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "attention_fwd_sm80_kernel.cuh"
#include "kernel_launches.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

constexpr int32_t kMaxSeqlen = 1 << 30;  // keeps sums of two positions within 32 bits
constexpr int64_t kMaxBlocks = 0x7fffffff;

bool has_16_byte_rows(const void* tensor, const int64_t (&stride)[3], int32_t batch, int32_t heads,
                      int32_t seqlen) {
  if (batch == 0 || heads == 0 || seqlen == 0) return true;
  const int32_t extent[3] = {batch, heads, seqlen};
  bool aligned = reinterpret_cast<uintptr_t>(tensor) % kChunkBytes == 0;
  for (int i = 0; i < 3; ++i) {
    aligned = aligned && (extent[i] == 1 || stride[i] % kChunkElements == 0);
  }
  return aligned;
}

int validate(const roofgate_attention_fwd_params& forward) {
  const roofgate_attention_problem& params = forward.problem;
  if (params.dtype != ROOFGATE_BF16 && params.dtype != ROOFGATE_FP16) {
    return ROOFGATE_UNSUPPORTED_DTYPE;
  }
  if (params.head_dim != 64 && params.head_dim != 128) return ROOFGATE_UNSUPPORTED_HEAD_DIM;
  if (params.batch < 0 || params.heads_q < 0 || params.heads_kv < 0) return ROOFGATE_BAD_SHAPE;
  if (params.heads_q > 0 && (params.heads_kv == 0 || params.heads_q % params.heads_kv != 0)) {
    return ROOFGATE_BAD_SHAPE;
  }
  if (int64_t{params.batch} * params.heads_q > kMaxBlocks) return ROOFGATE_BAD_SHAPE;
  if (params.seqlen_q < 0 || params.seqlen_q > kMaxSeqlen) return ROOFGATE_BAD_SHAPE;
  if (params.seqlen_k < 0 || params.seqlen_k > kMaxSeqlen) return ROOFGATE_BAD_SHAPE;
  // The kernel takes the row maximum before it scales, so a negative scale would give it the
  // minimum.
  if (!(params.scale >= 0.0f && std::isfinite(params.scale))) return ROOFGATE_BAD_SCALE;
  const auto aligned_q = [&](const void* tensor, const int64_t (&stride)[3]) {
    return has_16_byte_rows(tensor, stride, params.batch, params.heads_q, params.seqlen_q);
  };
  const auto aligned_kv = [&](const void* tensor, const int64_t (&stride)[3]) {
    return has_16_byte_rows(tensor, stride, params.batch, params.heads_kv, params.seqlen_k);
  };
  const bool aligned =
      aligned_q(params.q, params.q_stride) && aligned_q(forward.o, forward.o_stride) &&
      aligned_kv(params.k, params.k_stride) && aligned_kv(params.v, params.v_stride);
  return aligned ? ROOFGATE_OK : ROOFGATE_BAD_ALIGNMENT;
}

// How many query heads work at a time. Without a mask all blocks weigh the same, and one head after
// another keeps the fewest keys in L2. Under a causal mask the blocks of a group are sorted from
// heavy to light, so groups are large, but their K and V take no more than half of L2.
int choose_heads_per_group(const roofgate_attention_problem& params, int* heads_per_group) {
  *heads_per_group = 1;
  if (params.window_right < 0) return cudaSuccess;
  int device = 0;
  int l2_bytes = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device);
  }
  if (error != cudaSuccess) return error;
  const int64_t kv_bytes = int64_t{params.seqlen_k} * params.head_dim * 4;
  const int64_t kv_heads = l2_bytes / 2 / (kv_bytes > 0 ? kv_bytes : 1);
  const int64_t heads = (kv_heads > 1 ? kv_heads : 1) * (params.heads_q / params.heads_kv);
  const int64_t all = int64_t{params.batch} * params.heads_q;
  *heads_per_group = static_cast<int>(heads < all ? heads : all);
  return cudaSuccess;
}

void copy_stride(int64_t (&destination)[3], const int64_t (&source)[3]) {
  for (int i = 0; i < 3; ++i) destination[i] = source[i];
}

AttentionForwardArguments kernel_arguments(const roofgate_attention_fwd_params& forward,
                                           int32_t q_tiles, int heads_per_group) {
  const roofgate_attention_problem& params = forward.problem;
  AttentionForwardArguments arguments = {};
  arguments.q = static_cast<const uint16_t*>(params.q);
  arguments.k = static_cast<const uint16_t*>(params.k);
  arguments.v = static_cast<const uint16_t*>(params.v);
  arguments.o = static_cast<uint16_t*>(forward.o);
  arguments.lse = forward.lse;
  copy_stride(arguments.q_stride, params.q_stride);
  copy_stride(arguments.k_stride, params.k_stride);
  copy_stride(arguments.v_stride, params.v_stride);
  copy_stride(arguments.o_stride, forward.o_stride);
  arguments.batch_heads = params.batch * params.heads_q;
  arguments.heads_q = params.heads_q;
  arguments.queries_per_kv_head = params.heads_q / params.heads_kv;
  arguments.seqlen_q = params.seqlen_q;
  arguments.seqlen_k = params.seqlen_k;
  arguments.q_tiles = q_tiles;
  arguments.heads_per_group = heads_per_group;
  // At scale 0 a masked score would be -inf * 0. The smallest scale gives the same equal weights.
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kSmallestScale = 1e-30f;
  arguments.scale_log2 = std::fmax(params.scale, kSmallestScale) * kLog2E;
  return arguments;
}

template <class Config>
int launch(const roofgate_attention_fwd_params& forward, cudaStream_t stream) {
  const roofgate_attention_problem& params = forward.problem;
  const int64_t q_tiles = (params.seqlen_q - 1) / Config::kBlockQ + 1;
  const int64_t blocks = int64_t{params.batch} * params.heads_q * q_tiles;
  if (blocks > kMaxBlocks) return ROOFGATE_BAD_SHAPE;

  int heads_per_group = 1;
  const int error = choose_heads_per_group(params, &heads_per_group);
  if (error != cudaSuccess) return error;
  AttentionForwardArguments arguments =
      kernel_arguments(forward, static_cast<int32_t>(q_tiles), heads_per_group);

  const auto kernel = attention_fwd_sm80<Config>;
  constexpr int kSharedBytesWithoutAsking = 48 * 1024;
  if constexpr (Config::kSharedBytes > kSharedBytesWithoutAsking) {
    // Holds for the current device only, so it is not remembered from call to call.
    const cudaError_t asked = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Config::kSharedBytes);
    if (asked != cudaSuccess) return asked;
  }
  void* kernel_parameters[] = {&arguments};
  return cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(Config::kThreads),
                          kernel_parameters, Config::kSharedBytes, stream);
}

template <class Element, int head_dim>
int launch_masked_or_full(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  return params.problem.window_right == 0 ? launch<AttentionForward<Element, head_dim, true>>(params, stream)
                       : launch<AttentionForward<Element, head_dim, false>>(params, stream);
}

template <class Element>
int launch_head_dim(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  return params.problem.head_dim == 64 ? launch_masked_or_full<Element, 64>(params, stream)
                               : launch_masked_or_full<Element, 128>(params, stream);
}

template <class Element, int head_dim, bool causal>
constexpr roofgate_kernel_launch_facts launch_facts(const char* kernel) {
  using Config = AttentionForward<Element, head_dim, causal>;
  return {kernel, Config::kThreads, Config::kSharedBytes};
}

}  // namespace

KernelLaunches attention_fwd_launches() {
  using ptx::Bf16;
  using ptx::Fp16;
  static constexpr roofgate_kernel_launch_facts kFacts[] = {
      launch_facts<Bf16, 64, false>("attention_fwd<bf16, 64, full>"),
      launch_facts<Bf16, 64, true>("attention_fwd<bf16, 64, causal>"),
      launch_facts<Bf16, 128, false>("attention_fwd<bf16, 128, full>"),
      launch_facts<Bf16, 128, true>("attention_fwd<bf16, 128, causal>"),
      launch_facts<Fp16, 64, false>("attention_fwd<fp16, 64, full>"),
      launch_facts<Fp16, 64, true>("attention_fwd<fp16, 64, causal>"),
      launch_facts<Fp16, 128, false>("attention_fwd<fp16, 128, full>"),
      launch_facts<Fp16, 128, true>("attention_fwd<fp16, 128, causal>"),
  };
  return kernel_launches(kFacts);
}

}  // namespace roofgate

int roofgate_attention_fwd(const roofgate_attention_fwd_params* params, void* stream) {
  const int status = roofgate::validate(*params);
  if (status != ROOFGATE_OK) return status;
  if (params->problem.batch == 0 || params->problem.heads_q == 0 || params->problem.seqlen_q == 0) return ROOFGATE_OK;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  return params->problem.dtype == ROOFGATE_BF16
             ? roofgate::launch_head_dim<roofgate::ptx::Bf16>(*params, cuda_stream)
             : roofgate::launch_head_dim<roofgate::ptx::Fp16>(*params, cuda_stream);
}
