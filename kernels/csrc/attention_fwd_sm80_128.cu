// The instances of the attention forward kernel for head_dim 128.
#include "attention_fwd_sm80_launch.cuh"

namespace roofgate {

int launch_attention_fwd_128(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  return launch_attention_fwd_element<128>(params, stream);
}

}  // namespace roofgate
