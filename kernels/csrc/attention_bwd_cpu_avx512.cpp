// Attention backward with AVX-512: fp32 arithmetic, on bf16 tensors too.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma.
#if defined(__x86_64__)
#include "attention_bwd_cpu_engine.h"

namespace roofgate {

const AttentionBwdKernel kAttentionBwdAvx512[2] = {
    bwd_kernel_of<VectorEngine<Fp32Vectors<16>, Bf16>>(),
    bwd_kernel_of<VectorEngine<Fp32Vectors<16>, Fp32>>()};

}  // namespace roofgate
#endif
