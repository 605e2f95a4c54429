// Attention backward for sm_80 and later: dQ, dK and dV from dO, O and the log-sum-exp.
//
// The algorithm is FlashAttention-2's (Dao, arXiv 2307.08691, algorithm 2), with
//   P = exp(scale * Q K^T - LSE),  dV = P^T dO,  dP = dO V^T,
//   dS = P * (dP - delta),  delta = rowsum(dO * O),  dQ = scale * dS K,  dK = scale * dS^T Q.
// A softcap c, with capped score t, multiplies dS by 1 - (t / c)^2.
//
// Three kernels. The first finds delta and empties the sums of dQ. In the main one a thread block
// owns 128 keys of one KV head and walks over the queries of all its query heads, so that dK and
// dV stay in registers in fp32, summed over the group. A warp owns 16 keys and computes S^T and
// dP^T: with keys as rows, P^T and dS^T go from the accumulators into the operands of dV and dK
// without touching memory, and no row is reduced over lanes. Only dS goes through shared memory,
// for dQ sums over all keys of the block. dQ is added to fp32 sums in global memory, which the
// third kernel turns into 16 bits.
//
// Floors of one call, for N visible scores:
//   tensor cores    10 * N * head_dim FLOP     at 2048 FLOP/clk/SM on A100, 1024 on sm_86 and sm_89
//   exponentials    N                          at 16 /clk/SM
//   shared memory   46 to 106 B per score      at 128 B/clk/SM: attention_bwd_sm80_tiles.cuh
//   L2 reductions   4 * N * head_dim / 128 B   added to dQ
//   device memory   Q, K, V, O, dO, dQ, dK and dV once; dO once more; 12 B of sums per element of
//                   dQ, some of which L2 keeps
// On A100 a score of head_dim 128 costs 0.62 clk of tensor cores, 0.70 of shared memory and 0.06 of
// exponentials.
//
// Equal calls give equal bits but for the order in which key blocks add to dQ. The deterministic
// variant lets them take turns at each tile of queries, by a counter: block n adds after those with
// fewer keys before them. A separate pass for dQ would need no turns, but 14 instead of 10 * N *
// head_dim FLOP.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "attention_bwd_sm80_launches.h"
#include "attention_bwd_sm80_rows.cuh"
#include "attention_sm80_problem.h"
#include "kernel_launches.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

constexpr int64_t kWorkspaceAlignment = 256;

int validate(const roofgate_attention_bwd_params& params) {
  const roofgate_attention_problem& problem = params.problem;
  if (problem.head_dim != 64 && problem.head_dim != 128) return ROOFGATE_UNSUPPORTED_HEAD_DIM;
  const int status = validate_problem(problem);
  if (status != ROOFGATE_OK) return status;
  if (problem.total_q < 0 || problem.total_q > INT32_MAX) return ROOFGATE_BAD_SHAPE;
  const bool aligned = has_16_byte_rows_like_q(problem, params.o, params.o_stride) &&
                       has_16_byte_rows_like_q(problem, params.d_o, params.d_o_stride) &&
                       has_16_byte_rows_like_q(problem, params.dq, params.dq_stride) &&
                       has_16_byte_rows_like_k(problem, params.dk, params.dk_stride) &&
                       has_16_byte_rows_like_k(problem, params.dv, params.dv_stride);
  return aligned ? ROOFGATE_OK : ROOFGATE_BAD_ALIGNMENT;
}

// The grids and the workspace of one call.
struct Extents {
  int64_t tiles;  // of queries, of one head over the whole batch
  int64_t q_tiles;
  int64_t k_tiles;
  int64_t row_blocks;  // of the kernels around the main one
  int64_t key_blocks;
  int64_t dq_bytes;
  int64_t row_bytes;
  int64_t counter_bytes;

  int64_t workspace_bytes() const { return dq_bytes + row_bytes + counter_bytes; }
};

template <class Rows>
Extents extents(const roofgate_attention_problem& params) {
  constexpr int kBlockK =
      AttentionBackward<typename Rows::Element, Rows::kHeadDim, MaskKind::kFull>::kBlockK;
  const int64_t batch = params.batch;
  Extents sizes = {};
  sizes.q_tiles = (int64_t{params.seqlen_q} + Rows::kBlockQ - 1) / Rows::kBlockQ;
  sizes.k_tiles = (int64_t{params.seqlen_k} + kBlockK - 1) / kBlockK;
  sizes.tiles = params.cu_seqlens_q == nullptr ? batch * sizes.q_tiles
                                               : params.total_q / Rows::kBlockQ + batch;
  sizes.row_blocks = batch * params.heads_q * sizes.q_tiles;
  sizes.key_blocks = batch * params.heads_kv * sizes.k_tiles;
  const int64_t all_tiles = sizes.tiles * params.heads_q;
  constexpr int64_t kAlignment = kWorkspaceAlignment;
  sizes.dq_bytes = all_tiles * Rows::kDqFloats * 4;
  sizes.row_bytes = all_tiles * Rows::kRowNumbers * 4;
  sizes.counter_bytes = ((all_tiles + 1) * 4 + kAlignment - 1) / kAlignment * kAlignment;
  static_assert(Rows::kDqFloats * 4 % kAlignment == 0 && Rows::kRowNumbers * 4 % kAlignment == 0);
  return sizes;
}

// How many KV heads work at a time. Where all blocks weigh the same, one head after another keeps
// the least in L2. Else the blocks of a group are sorted from heavy to light, so groups are large,
// but their Q, dO and sums of dQ take no more than half of L2. Blocks that take turns are of all
// heads: the fewer of one head are at work, the less they wait for one another.
int choose_heads_per_group(const roofgate_attention_bwd_params& backward, int* heads_per_group) {
  const roofgate_attention_problem& params = backward.problem;
  const int64_t all = int64_t{params.batch} * params.heads_kv;
  const bool window = params.window_left >= 0 || params.window_right >= 0;
  const bool equal = !window && params.cu_seqlens_q == nullptr;
  *heads_per_group = backward.deterministic ? static_cast<int>(all) : 1;
  if (equal || backward.deterministic) return cudaSuccess;
  int device = 0;
  int l2_bytes = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device);
  }
  if (error != cudaSuccess) return error;
  const int64_t rows = int64_t{params.seqlen_q} * (params.heads_q / params.heads_kv);
  const int64_t bytes = std::max<int64_t>(rows * params.head_dim * 8, 1);
  const int64_t heads = std::max<int64_t>(l2_bytes / 2 / bytes, 1);
  *heads_per_group = static_cast<int>(std::min(heads, all));
  return cudaSuccess;
}

void copy_strides(AttentionBackwardArguments& arguments,
                  const roofgate_attention_bwd_params& backward) {
  const roofgate_attention_problem& params = backward.problem;
  const bool varies = params.cu_seqlens_q != nullptr;
  const auto copy = [&](int64_t (&destination)[3], const int64_t (&source)[3]) {
    for (int i = 0; i < 3; ++i) destination[i] = i == 0 && varies ? 0 : source[i];
  };
  copy(arguments.q_stride, params.q_stride);
  copy(arguments.k_stride, params.k_stride);
  copy(arguments.v_stride, params.v_stride);
  copy(arguments.o_stride, backward.o_stride);
  copy(arguments.d_o_stride, backward.d_o_stride);
  copy(arguments.dq_stride, backward.dq_stride);
  copy(arguments.dk_stride, backward.dk_stride);
  copy(arguments.dv_stride, backward.dv_stride);
}

void set_mask(AttentionBackwardArguments& arguments, const roofgate_attention_problem& params) {
  arguments.plan_tiles = params.plan.tiles;
  arguments.plan_key_bits = params.plan.key_bits;
  arguments.plan_key_order = params.plan.key_order;
  for (int i = 0; i < 2; ++i) arguments.plan_stride[i] = params.plan.tiles_stride[i];
  arguments.alibi_slopes = params.alibi_slopes;
  arguments.alibi_batch_stride = params.alibi_batch_stride;
  arguments.window = bounded_window(params);
  arguments.softcap = params.softcap;
  arguments.scale = params.scale;
  arguments.scale_log2 = params.scale * kLog2E;
}

AttentionBackwardArguments kernel_arguments(const roofgate_attention_bwd_params& backward,
                                            const Extents& sizes, int heads_per_group) {
  const roofgate_attention_problem& params = backward.problem;
  AttentionBackwardArguments arguments = {};
  arguments.q = static_cast<const uint16_t*>(params.q);
  arguments.k = static_cast<const uint16_t*>(params.k);
  arguments.v = static_cast<const uint16_t*>(params.v);
  arguments.o = static_cast<const uint16_t*>(backward.o);
  arguments.d_o = static_cast<const uint16_t*>(backward.d_o);
  arguments.lse = backward.lse;
  arguments.dq = static_cast<uint16_t*>(backward.dq);
  arguments.dk = static_cast<uint16_t*>(backward.dk);
  arguments.dv = static_cast<uint16_t*>(backward.dv);
  copy_strides(arguments, backward);
  set_mask(arguments, params);
  arguments.cu_seqlens_q = params.cu_seqlens_q;
  arguments.cu_seqlens_k = params.cu_seqlens_k;
  arguments.total_q = params.total_q;
  const auto workspace = static_cast<unsigned char*>(backward.workspace);
  const auto counters = reinterpret_cast<uint32_t*>(workspace + sizes.dq_bytes + sizes.row_bytes);
  arguments.workspace = {reinterpret_cast<float*>(workspace),
                         reinterpret_cast<float*>(workspace + sizes.dq_bytes), counters + 1,
                         counters};
  arguments.tiles = sizes.tiles;
  arguments.batch = params.batch;
  arguments.heads_q = params.heads_q;
  arguments.heads_kv = params.heads_kv;
  arguments.queries_per_kv_head = params.heads_q / params.heads_kv;
  arguments.seqlen_q = params.seqlen_q;
  arguments.seqlen_k = params.seqlen_k;
  arguments.q_tiles = static_cast<int32_t>(sizes.q_tiles);
  arguments.k_tiles = static_cast<int32_t>(sizes.k_tiles);
  arguments.heads_per_group = heads_per_group;
  arguments.takes_turns = backward.deterministic != 0;
  return arguments;
}

int launch_main(const roofgate_attention_problem& params,
                const AttentionBackwardArguments& arguments, int64_t blocks, cudaStream_t stream) {
  if (blocks == 0) return cudaSuccess;
  const bool is_small = params.head_dim == 64;
  const auto launch =
      params.dtype == ROOFGATE_BF16
          ? (is_small ? launch_attention_bwd_bf16_hdim64 : launch_attention_bwd_bf16_hdim128)
          : (is_small ? launch_attention_bwd_fp16_hdim64 : launch_attention_bwd_fp16_hdim128);
  return launch(mask_kind(params), arguments, static_cast<unsigned>(blocks), stream);
}

template <class Rows>
int launch_all(const roofgate_attention_bwd_params& backward, const Extents& sizes,
               cudaStream_t stream) {
  const roofgate_attention_problem& params = backward.problem;
  int heads_per_group = 1;
  int error = choose_heads_per_group(backward, &heads_per_group);
  if (error != cudaSuccess) return error;
  AttentionBackwardArguments arguments = kernel_arguments(backward, sizes, heads_per_group);
  void* kernel_parameters[] = {&arguments};
  const dim3 row_blocks(static_cast<unsigned>(sizes.row_blocks));
  if (sizes.row_blocks > 0) {
    error = cudaLaunchKernel(attention_bwd_delta_sm80<Rows>, row_blocks, dim3(Rows::kDeltaThreads),
                             kernel_parameters, 0, stream);
  }
  if (error == cudaSuccess) error = launch_main(params, arguments, sizes.key_blocks, stream);
  if (error == cudaSuccess && sizes.row_blocks > 0) {
    error = cudaLaunchKernel(attention_bwd_dq_sm80<Rows>, row_blocks, dim3(Rows::kDqThreads),
                             kernel_parameters, Rows::kDqSharedBytes, stream);
  }
  return error;
}

template <class Rows>
int run(roofgate_attention_bwd_params& backward, cudaStream_t stream) {
  const roofgate_attention_problem& params = backward.problem;
  if (params.batch == 0 || params.heads_q == 0) {
    if (backward.workspace == nullptr) backward.workspace_bytes = kWorkspaceAlignment;
    return ROOFGATE_OK;
  }
  const Extents sizes = extents<Rows>(params);
  if (sizes.row_blocks > kMaxThreadBlocks || sizes.key_blocks > kMaxThreadBlocks)
    return ROOFGATE_BAD_SHAPE;
  if (backward.workspace == nullptr) {
    backward.workspace_bytes = sizes.workspace_bytes();
    return ROOFGATE_OK;
  }
  const bool fits = backward.workspace_bytes >= sizes.workspace_bytes();
  const bool aligned = reinterpret_cast<uintptr_t>(backward.workspace) % kWorkspaceAlignment == 0;
  return fits && aligned ? launch_all<Rows>(backward, sizes, stream) : ROOFGATE_BAD_WORKSPACE;
}

template <class Element, int head_dim, MaskKind kind>
constexpr roofgate_kernel_launch_facts main_facts(const char* kernel) {
  using Config = AttentionBackward<Element, head_dim, kind>;
  return {kernel, Config::kThreads, Config::kSharedBytes};
}

template <class Element, int head_dim>
constexpr roofgate_kernel_launch_facts delta_facts(const char* kernel) {
  return {kernel, AttentionBackwardRows<Element, head_dim>::kDeltaThreads, 0};
}

template <class Element, int head_dim>
constexpr roofgate_kernel_launch_facts dq_facts(const char* kernel) {
  using Rows = AttentionBackwardRows<Element, head_dim>;
  return {kernel, Rows::kDqThreads, Rows::kDqSharedBytes};
}

}  // namespace

KernelLaunches attention_bwd_launches() {
  using ptx::Bf16;
  using ptx::Fp16;
  static constexpr roofgate_kernel_launch_facts kFacts[] = {
      main_facts<Bf16, 64, MaskKind::kFull>("attention_bwd<bf16, 64, full>"),
      main_facts<Bf16, 64, MaskKind::kWindow>("attention_bwd<bf16, 64, window>"),
      main_facts<Bf16, 64, MaskKind::kPlan>("attention_bwd<bf16, 64, plan>"),
      main_facts<Bf16, 64, MaskKind::kAny>("attention_bwd<bf16, 64, any>"),
      main_facts<Bf16, 128, MaskKind::kFull>("attention_bwd<bf16, 128, full>"),
      main_facts<Bf16, 128, MaskKind::kWindow>("attention_bwd<bf16, 128, window>"),
      main_facts<Bf16, 128, MaskKind::kPlan>("attention_bwd<bf16, 128, plan>"),
      main_facts<Bf16, 128, MaskKind::kAny>("attention_bwd<bf16, 128, any>"),
      main_facts<Fp16, 64, MaskKind::kFull>("attention_bwd<fp16, 64, full>"),
      main_facts<Fp16, 64, MaskKind::kWindow>("attention_bwd<fp16, 64, window>"),
      main_facts<Fp16, 64, MaskKind::kPlan>("attention_bwd<fp16, 64, plan>"),
      main_facts<Fp16, 64, MaskKind::kAny>("attention_bwd<fp16, 64, any>"),
      main_facts<Fp16, 128, MaskKind::kFull>("attention_bwd<fp16, 128, full>"),
      main_facts<Fp16, 128, MaskKind::kWindow>("attention_bwd<fp16, 128, window>"),
      main_facts<Fp16, 128, MaskKind::kPlan>("attention_bwd<fp16, 128, plan>"),
      main_facts<Fp16, 128, MaskKind::kAny>("attention_bwd<fp16, 128, any>"),
      delta_facts<Bf16, 64>("attention_bwd_delta<bf16, 64>"),
      delta_facts<Bf16, 128>("attention_bwd_delta<bf16, 128>"),
      delta_facts<Fp16, 64>("attention_bwd_delta<fp16, 64>"),
      delta_facts<Fp16, 128>("attention_bwd_delta<fp16, 128>"),
      dq_facts<Bf16, 64>("attention_bwd_dq<bf16, 64>"),
      dq_facts<Bf16, 128>("attention_bwd_dq<bf16, 128>"),
      dq_facts<Fp16, 64>("attention_bwd_dq<fp16, 64>"),
      dq_facts<Fp16, 128>("attention_bwd_dq<fp16, 128>"),
  };
  return kernel_launches(kFacts);
}

}  // namespace roofgate

int roofgate_attention_bwd(roofgate_attention_bwd_params* params, void* stream) {
  using roofgate::AttentionBackwardRows;
  using roofgate::ptx::Bf16;
  using roofgate::ptx::Fp16;
  const int status = roofgate::validate(*params);
  if (status != ROOFGATE_OK) return status;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const bool is_small = params->problem.head_dim == 64;
  if (params->problem.dtype == ROOFGATE_BF16) {
    return is_small ? roofgate::run<AttentionBackwardRows<Bf16, 64>>(*params, cuda_stream)
                    : roofgate::run<AttentionBackwardRows<Bf16, 128>>(*params, cuda_stream);
  }
  return is_small ? roofgate::run<AttentionBackwardRows<Fp16, 64>>(*params, cuda_stream)
                  : roofgate::run<AttentionBackwardRows<Fp16, 128>>(*params, cuda_stream);
}
