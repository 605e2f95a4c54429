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

#define ROOFGATE_ABI_VERSION 1
#define ROOFGATE_EXPORT __attribute__((visibility("default")))

enum roofgate_dtype { ROOFGATE_BF16 = 0, ROOFGATE_FP16 = 1, ROOFGATE_FP32 = 2 };

// Instruction sets of the host kernels. AUTO takes the best one that the processor has.
enum roofgate_isa {
  ROOFGATE_ISA_AUTO = 0,
  ROOFGATE_ISA_PORTABLE = 1,
  ROOFGATE_ISA_AVX2 = 2,
  ROOFGATE_ISA_AVX512 = 3,
  ROOFGATE_ISA_AVX512_BF16 = 4,
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
};

// softmax(scale * Q K^T + mask) V for one batch of heads.
// Strides count elements and stand in the order batch, head, position; head_dim is contiguous.
// seqlen_q and seqlen_k may be zero: without a key, a row of O is zero and its LSE is -inf.
struct roofgate_attention_fwd_params {
  const void* q;  // [batch, heads_q, seqlen_q, head_dim]
  const void* k;  // [batch, heads_kv, seqlen_k, head_dim]
  const void* v;  // [batch, heads_kv, seqlen_k, head_dim]
  void* o;        // [batch, heads_q, seqlen_q, head_dim]
  float* lse;     // [batch, heads_q, seqlen_q], contiguous, natural logarithm
  int64_t q_stride[3];
  int64_t k_stride[3];
  int64_t v_stride[3];
  int64_t o_stride[3];
  int32_t batch;
  int32_t heads_q;  // a multiple of heads_kv
  int32_t heads_kv;
  int32_t seqlen_q;
  int32_t seqlen_k;
  int32_t head_dim;
  int32_t dtype;  // enum roofgate_dtype, of Q, K, V and O
  int32_t
      causal;   // 1: key j is visible to query i when j <= i + seqlen_k - seqlen_q (bottom-right)
  float scale;  // applied to the scores before the softmax
  int32_t threads;  // host kernels only
  int32_t isa;      // host kernels only: enum roofgate_isa
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
