// The main backward kernel, launched for one type and head_dim: a source file each.
#pragma once

#include <cuda_runtime.h>

#include "attention_bwd_sm80_arguments.cuh"
#include "attention_mask.h"

namespace roofgate {

// They return a cudaError_t.
int launch_attention_bwd_bf16_hdim64(MaskKind kind, const AttentionBackwardArguments& arguments,
                                     unsigned blocks, cudaStream_t stream);
int launch_attention_bwd_bf16_hdim128(MaskKind kind, const AttentionBackwardArguments& arguments,
                                      unsigned blocks, cudaStream_t stream);
int launch_attention_bwd_fp16_hdim64(MaskKind kind, const AttentionBackwardArguments& arguments,
                                     unsigned blocks, cudaStream_t stream);
int launch_attention_bwd_fp16_hdim128(MaskKind kind, const AttentionBackwardArguments& arguments,
                                      unsigned blocks, cudaStream_t stream);

}  // namespace roofgate
