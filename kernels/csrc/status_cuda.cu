// What a CUDA library of roofgate says about itself, its kernels and its errors.
#include <cuda_runtime.h>

#include "kernel_launches.h"
#include "roofgate_abi.h"

int roofgate_abi_version(void) { return ROOFGATE_ABI_VERSION; }

const char* roofgate_status_text(int status) {
  switch (status) {
    case ROOFGATE_UNSUPPORTED_DTYPE:
      return "unsupported dtype";
    case ROOFGATE_UNSUPPORTED_HEAD_DIM:
      return "unsupported head_dim: the CUDA kernels take 64, 128 and, forward alone, 256";
    case ROOFGATE_UNSUPPORTED_ISA:
      return "unsupported instruction set";
    case ROOFGATE_BAD_SHAPE:
      return "sizes out of range, or heads_q is not a multiple of heads_kv";
    case ROOFGATE_BAD_ALIGNMENT:
      return "rows, and the bits of a mask plan, must start at multiples of 16 bytes";
    case ROOFGATE_OUT_OF_MEMORY:
      return "out of memory";
    case ROOFGATE_BAD_SCALE:
      return "scale must be finite and not negative";
    case ROOFGATE_BAD_MASK:
      return "a mask plan goes with no window and no sequences, and is whole; window bounds are -1 "
             "or "
             "more, softcap is finite and not negative, sequences are for Q and K or neither";
    case ROOFGATE_BAD_WORKSPACE:
      return "the workspace is too small, or does not start at a multiple of 256 bytes";
    default:
      return cudaGetErrorString(static_cast<cudaError_t>(status));
  }
}

int roofgate_kernel_launch(int index, roofgate_kernel_launch_facts* facts) {
  const roofgate::KernelLaunches sources[] = {roofgate::attention_fwd_launches(),
                                              roofgate::attention_bwd_launches(),
                                              roofgate::ceiling_launches()};
  for (const roofgate::KernelLaunches& source : sources) {
    if (index >= 0 && index < source.count) {
      *facts = source.facts[index];
      return 1;
    }
    index -= source.count;
  }
  return 0;
}
