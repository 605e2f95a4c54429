// The instances of the attention forward kernel for head_dim 64.
#include "attention_fwd_sm80_launch.cuh"

namespace roofgate {

int launch_attention_fwd_64(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  return launch_attention_fwd_element<64>(params, stream);
}

}  // namespace roofgate
