// Attention backward with AVX2 and FMA: fp32 arithmetic, on bf16 tensors too.
// Built with -mavx2 -mfma.
#if defined(__x86_64__)
#include "attention_bwd_cpu_engine.h"

namespace roofgate {

const AttentionBwdKernel kAttentionBwdAvx2[2] = {
    bwd_kernel_of<VectorEngine<Fp32Vectors<8>, Bf16>>(),
    bwd_kernel_of<VectorEngine<Fp32Vectors<8>, Fp32>>()};

}  // namespace roofgate
#endif
