// The main backward kernel for bf16 and head_dim 128.
#include "attention_bwd_sm80_launch.cuh"

int roofgate::launch_attention_bwd_bf16_hdim128(MaskKind kind,
                                                const AttentionBackwardArguments& arguments,
                                                unsigned blocks, cudaStream_t stream) {
  return launch_main<ptx::Bf16, 128>(kind, arguments, blocks, stream);
}
