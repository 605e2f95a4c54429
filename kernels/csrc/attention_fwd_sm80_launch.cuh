// Launches one instance of the attention forward kernel. The instances of each head_dim are
// compiled in a file of their own, side by side.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "attention_fwd_sm80_kernel.cuh"
#include "attention_sm80_problem.h"
#include "roofgate_abi.h"

namespace roofgate {

// Both validate nothing. Returns a roofgate_status.
int launch_attention_fwd_64(const roofgate_attention_fwd_params& params, cudaStream_t stream);
int launch_attention_fwd_128(const roofgate_attention_fwd_params& params, cudaStream_t stream);
int launch_attention_fwd_256(const roofgate_attention_fwd_params& params, cudaStream_t stream);

// How many query heads work at a time. Where all blocks weigh the same, one head after another
// keeps the fewest keys in L2. Else the blocks of a group are sorted from heavy to light, so groups
// are large, but their K and V take no more than half of L2.
inline int choose_heads_per_group(const roofgate_attention_problem& problem, int* heads_per_group) {
  *heads_per_group = 1;
  const bool window = problem.window_left >= 0 || problem.window_right >= 0;
  if (!window && problem.plan.tiles == nullptr && problem.cu_seqlens_q == nullptr) {
    return cudaSuccess;
  }
  int device = 0;
  int l2_bytes = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device);
  }
  if (error != cudaSuccess) return error;
  const int64_t kv_bytes = int64_t{problem.seqlen_k} * problem.head_dim * 4;
  const int64_t kv_heads = l2_bytes / 2 / (kv_bytes > 0 ? kv_bytes : 1);
  const int64_t heads = (kv_heads > 1 ? kv_heads : 1) * (problem.heads_q / problem.heads_kv);
  const int64_t all = int64_t{problem.batch} * problem.heads_q;
  *heads_per_group = static_cast<int>(heads < all ? heads : all);
  return cudaSuccess;
}

inline void copy_stride(int64_t (&destination)[3], const int64_t (&source)[3]) {
  for (int i = 0; i < 3; ++i) destination[i] = source[i];
}

inline AttentionForwardArguments kernel_arguments(const roofgate_attention_fwd_params& params) {
  const roofgate_attention_problem& problem = params.problem;
  AttentionForwardArguments arguments = {};
  arguments.q = static_cast<const uint16_t*>(problem.q);
  arguments.k = static_cast<const uint16_t*>(problem.k);
  arguments.v = static_cast<const uint16_t*>(problem.v);
  arguments.o = static_cast<uint16_t*>(params.o);
  arguments.lse = params.lse;
  copy_stride(arguments.q_stride, problem.q_stride);
  copy_stride(arguments.k_stride, problem.k_stride);
  copy_stride(arguments.v_stride, problem.v_stride);
  copy_stride(arguments.o_stride, params.o_stride);
  arguments.cu_seqlens_q = problem.cu_seqlens_q;
  arguments.cu_seqlens_k = problem.cu_seqlens_k;
  arguments.total_q = problem.total_q;
  arguments.plan = problem.plan;
  arguments.alibi_slopes = problem.alibi_slopes;
  arguments.alibi_batch_stride = problem.alibi_batch_stride;
  arguments.lengths = {problem.seqlen_q, problem.seqlen_k};
  arguments.window = bounded_window(problem);
  arguments.plan_tiles_q = (problem.seqlen_q + ROOFGATE_PLAN_TILE - 1) / ROOFGATE_PLAN_TILE;
  arguments.plan_tiles_k = (problem.seqlen_k + ROOFGATE_PLAN_TILE - 1) / ROOFGATE_PLAN_TILE;
  arguments.batch_heads = problem.batch * problem.heads_q;
  arguments.heads_q = problem.heads_q;
  arguments.queries_per_kv_head = problem.heads_q / problem.heads_kv;
  // At scale 0 a masked score would be -inf * 0. The smallest scale gives the same equal weights.
  constexpr float kSmallestScale = 1e-30f;
  arguments.scale_log2 = std::fmax(problem.scale, kSmallestScale) * kLog2E;
  if (problem.softcap > 0.0f) {
    arguments.softcap_log2 = problem.softcap * kLog2E;
    arguments.softcap_input = 2.0f * kLog2E * problem.scale / problem.softcap;
  }
  return arguments;
}

template <class Config>
int launch_attention_fwd(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  const roofgate_attention_problem& problem = params.problem;
  AttentionForwardArguments arguments = kernel_arguments(params);
  // A plan orders pairs of its tiles: a last pair that lacks its second one counts as whole.
  constexpr int kPairOfTiles = 2 * ROOFGATE_PLAN_TILE;
  const int multiple = problem.plan.tiles != nullptr ? kPairOfTiles : Config::kBlockQ;
  const int64_t q_tiles =
      (int64_t{problem.seqlen_q} + multiple - 1) / multiple * (multiple / Config::kBlockQ);
  const int64_t blocks = int64_t{problem.batch} * problem.heads_q * q_tiles;
  constexpr int64_t kMaxBlocks = 0x7fffffff;
  if (blocks > kMaxBlocks) return ROOFGATE_BAD_SHAPE;
  arguments.q_tiles = static_cast<int32_t>(q_tiles);
  const int error = choose_heads_per_group(problem, &arguments.heads_per_group);
  if (error != cudaSuccess) return error;

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
int launch_attention_fwd_mask(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  switch (mask_kind(params.problem)) {
    case MaskKind::kFull:
      return launch_attention_fwd<AttentionForward<Element, head_dim, MaskKind::kFull>>(params,
                                                                                        stream);
    case MaskKind::kWindow:
      return launch_attention_fwd<AttentionForward<Element, head_dim, MaskKind::kWindow>>(params,
                                                                                          stream);
    case MaskKind::kPlan:
      return launch_attention_fwd<AttentionForward<Element, head_dim, MaskKind::kPlan>>(params,
                                                                                        stream);
    case MaskKind::kAny:
      break;
  }
  return launch_attention_fwd<AttentionForward<Element, head_dim, MaskKind::kAny>>(params, stream);
}

template <int head_dim>
int launch_attention_fwd_element(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  return params.problem.dtype == ROOFGATE_BF16
             ? launch_attention_fwd_mask<ptx::Bf16, head_dim>(params, stream)
             : launch_attention_fwd_mask<ptx::Fp16, head_dim>(params, stream);
}

}  // namespace roofgate
