// The C interface of every roofgate library, on the host and on the GPU alike.
//
// A library is opened with dlopen and driven through plain structs, so it needs no torch headers
// and two commits' libraries can sit in one process and be timed alternately. kernels/interface.py
// mirrors this file field by field: change both together and raise ROOFGATE_ABI_VERSION.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ROOFGATE_ABI_VERSION 2
#define ROOFGATE_EXPORT __attribute__((visibility("default")))

enum roofgate_dtype { ROOFGATE_BF16 = 0, ROOFGATE_FP16 = 1, ROOFGATE_FP32 = 2 };

// Instruction sets of the host kernels. AUTO takes the best one that the processor has.
enum roofgate_isa {
  ROOFGATE_ISA_AUTO = 0,
  ROOFGATE_ISA_PORTABLE = 1,
  ROOFGATE_ISA_AVX2 = 2,
  ROOFGATE_ISA_AVX512 = 3,
  ROOFGATE_ISA_AVX512_BF16 = 4,
  ROOFGATE_ISA_AMX_BF16 = 5,
};

// 0 is success. Values from 1 to 9999 are cudaError_t. Ours begin at 10000.
enum roofgate_status {
  ROOFGATE_OK = 0,
  ROOFGATE_UNSUPPORTED_DTYPE = 10000,
  ROOFGATE_UNSUPPORTED_HEAD_DIM = 10001,
  ROOFGATE_UNSUPPORTED_ISA = 10002,
  ROOFGATE_BAD_SHAPE = 10003,
  ROOFGATE_BAD_ALIGNMENT = 10004,
  ROOFGATE_OUT_OF_MEMORY = 10005,
  ROOFGATE_BAD_SCALE = 10006,
  ROOFGATE_BAD_MASK = 10007,
  ROOFGATE_BAD_WORKSPACE = 10008,
};

// What a tile of a mask plan holds. From ROOFGATE_TILE_PARTIAL on, the bits of tile number
// (value - ROOFGATE_TILE_PARTIAL) say which pairs are visible.
enum roofgate_tile {
  ROOFGATE_TILE_EMPTY = 0,
  ROOFGATE_TILE_FULL = 1,
  ROOFGATE_TILE_PARTIAL = 2,
};
#define ROOFGATE_PLAN_TILE 64  // queries and keys of a tile of a mask plan

// Any mask at all, cut into tiles of ROOFGATE_PLAN_TILE queries by as many keys. Keys from seqlen_k
// on are invisible in the bits, so a tile that reaches past seqlen_k is never full. Queries from
// seqlen_q on count as visible or not, as it suits.
struct roofgate_mask_plan {
  const int32_t* tiles;     // [batch, heads_q, tiles_q, tiles_k], enum roofgate_tile; null: no plan
  int64_t tiles_stride[2];  // elements: batch, head; 0 where all share one plan
  const uint64_t* query_bits;  // [partial tiles, 64]: bit k of word q: query q sees key k
  const uint64_t* key_bits;    // [partial tiles, 64]: bit q of word k, the same transposed
  // Heaviest first, over all batches and heads together; a permutation. Pairs of tiles: entry p
  // stands for queries (keys) [128 * p, 128 * p + 128).
  const int32_t* query_order;  // [ceil(tiles_q / 2)]
  const int32_t* key_order;    // [ceil(tiles_k / 2)]
};

// What attention forward and backward share: softmax(modified(scale * Q K^T) + mask) V.
//
// Strides count elements and stand in the order batch, head, position; head_dim is contiguous.
// seqlen_q and seqlen_k may be zero: without a key, a row of O is zero and its LSE is -inf.
//
// Batches of sequences of different lengths lie end to end: cu_seqlens_q[b] and cu_seqlens_k[b] are
// the positions where sequence b begins, cu_seqlens[batch] is where the last one ends. Q is then
// [total_q, heads_q, head_dim] and the batch strides are not read; seqlen_q and seqlen_k are the
// greatest lengths. Both are null, or neither. On the GPU they are device memory.
//
// Of the masks, a window and a plan exclude each other, and so do sequences and a plan.
struct roofgate_attention_problem {
  const void* q;  // [batch, heads_q, seqlen_q, head_dim]
  const void* k;  // [batch, heads_kv, seqlen_k, head_dim]
  const void* v;  // [batch, heads_kv, seqlen_k, head_dim]
  int64_t q_stride[3];
  int64_t k_stride[3];
  int64_t v_stride[3];
  const int32_t* cu_seqlens_q;  // [batch + 1] or null
  const int32_t* cu_seqlens_k;  // [batch + 1] or null
  int64_t total_q;              // with cu_seqlens: the end of the last sequence
  const float* alibi_slopes;    // [heads_q] per batch, or null: adds -slope * |i + d - j| to the
                                // score of query i and key j, with d = seqlen_k - seqlen_q
  int64_t alibi_batch_stride;   // 0 where all batches share the slopes
  struct roofgate_mask_plan plan;
  int32_t batch;
  int32_t heads_q;  // a multiple of heads_kv
  int32_t heads_kv;
  int32_t seqlen_q;
  int32_t seqlen_k;
  int32_t head_dim;
  int32_t dtype;  // enum roofgate_dtype, of all tensors but the LSE
  // Key j is visible to query i when -window_left <= j - (i + seqlen_k - seqlen_q) <= window_right;
  // -1 takes a bound away. A causal mask, aligned to the bottom right, is (-1, 0).
  int32_t window_left;
  int32_t window_right;
  float scale;      // of the scores, before everything else
  float softcap;    // above 0: scores become softcap * tanh(score / softcap), before ALiBi and mask
  int32_t threads;  // host kernels only
  int32_t isa;      // host kernels only: enum roofgate_isa
};

struct roofgate_attention_fwd_params {
  struct roofgate_attention_problem problem;
  void* o;  // [batch, heads_q, seqlen_q, head_dim]
  int64_t o_stride[3];
  // Natural logarithm, contiguous: [batch, heads_q, seqlen_q], or [heads_q, total_q] with
  // cu_seqlens.
  float* lse;
};

// Gradients of Q, K and V from that of O. The shapes are those of the forward pass.
struct roofgate_attention_bwd_params {
  struct roofgate_attention_problem problem;
  const void* o;  // of the forward pass, like its LSE
  const void* d_o;
  const float* lse;
  void* dq;  // like q
  void* dk;  // like k: summed over the query heads of a KV head
  void* dv;
  int64_t o_stride[3];
  int64_t d_o_stride[3];
  int64_t dq_stride[3];
  int64_t dk_stride[3];
  int64_t dv_stride[3];
  void* workspace;          // aligned to 256 bytes, uninitialised; null asks for its size
  int64_t workspace_bytes;  // in, and out where workspace is null
  int32_t deterministic;    // 1: equal calls give equal bits
};

// Copies `bytes` from src to dst: 2 * bytes of memory traffic.
struct roofgate_ceiling_copy_params {
  void* dst;
  const void* src;
  int64_t bytes;    // a multiple of 64
  int32_t threads;  // host only
};

// Runs independent chains of multiply-adds in registers: the instruction peak of one dtype.
struct roofgate_ceiling_flops_params {
  int64_t iterations;  // of the inner loop, per thread (host) or per warp (GPU)
  int32_t dtype;  // enum roofgate_dtype; on the GPU bf16 and fp16 mean tensor cores with fp32 sums
  int32_t threads;  // host only
  int32_t isa;      // host only: enum roofgate_isa
  void* sink;       // at least 4 bytes; written so that the compiler keeps the work
  double flop;      // out: floating-point operations executed
};

// How one CUDA kernel of this library is launched: what its theoretical occupancy depends on and
// its machine code does not say.
struct roofgate_kernel_launch_facts {
  const char* kernel;            // template arguments in words: "attention_fwd<bf16, 64, causal>"
  int32_t threads;               // per block
  int32_t dynamic_shared_bytes;  // per block
};

ROOFGATE_EXPORT int roofgate_abi_version(void);

// `stream` is a cudaStream_t on the GPU and ignored on the host.
ROOFGATE_EXPORT int roofgate_attention_fwd(const struct roofgate_attention_fwd_params* params,
                                           void* stream);
// With a null workspace it computes nothing and writes params->workspace_bytes, which is at
// least 1.
ROOFGATE_EXPORT int roofgate_attention_bwd(struct roofgate_attention_bwd_params* params,
                                           void* stream);
ROOFGATE_EXPORT int roofgate_ceiling_copy(const struct roofgate_ceiling_copy_params* params,
                                          void* stream);
ROOFGATE_EXPORT int roofgate_ceiling_flops(struct roofgate_ceiling_flops_params* params,
                                           void* stream);

// Name of a status for an error message; never null.
ROOFGATE_EXPORT const char* roofgate_status_text(int status);

// Host libraries only: the enum roofgate_isa that AUTO means on this processor.
ROOFGATE_EXPORT int roofgate_best_isa(void);

// CUDA libraries only: fills `facts` for kernel number `index` and returns 1, or returns 0 past the
// last one. Covers every __global__ function of the library. Needs no driver.
ROOFGATE_EXPORT int roofgate_kernel_launch(int index, struct roofgate_kernel_launch_facts* facts);

#ifdef __cplusplus
}
#endif
