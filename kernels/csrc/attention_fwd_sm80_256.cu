// The instances of the attention forward kernel for head_dim 256.
#include "attention_fwd_sm80_launch.cuh"

namespace roofgate {

int launch_attention_fwd_256(const roofgate_attention_fwd_params& params, cudaStream_t stream) {
  return launch_attention_fwd_element<256>(params, stream);
}

}  // namespace roofgate
