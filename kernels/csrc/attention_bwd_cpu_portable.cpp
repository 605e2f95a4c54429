// Attention backward for any processor: fp32 arithmetic, on bf16 tensors too.
#include "attention_bwd_cpu_engine.h"

namespace roofgate {

const AttentionBwdKernel kAttentionBwdPortable[2] = {
    bwd_kernel_of<VectorEngine<Fp32Vectors<4>, Bf16>>(),
    bwd_kernel_of<VectorEngine<Fp32Vectors<4>, Fp32>>()};

}  // namespace roofgate
