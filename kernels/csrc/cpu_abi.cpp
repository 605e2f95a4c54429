// The parts of the C interface that belong to no kernel.
#include "cpu_isa.h"
#include "roofgate_abi.h"

extern "C" {

int roofgate_abi_version(void) { return ROOFGATE_ABI_VERSION; }

int roofgate_best_isa(void) { return roofgate::best_isa(); }

const char* roofgate_status_text(int status) {
  switch (status) {
    case ROOFGATE_OK:
      return "ok";
    case ROOFGATE_UNSUPPORTED_DTYPE:
      return "unsupported dtype: host kernels take bf16 and fp32";
    case ROOFGATE_UNSUPPORTED_HEAD_DIM:
      return "unsupported head_dim: host kernels take multiples of 16 from 16 to 256";
    case ROOFGATE_UNSUPPORTED_ISA:
      return "unsupported isa: this processor lacks it; roofgate_best_isa names the best it has";
    case ROOFGATE_BAD_SHAPE:
      return "bad shape: a size is negative, heads_q is no multiple of heads_kv, sequences "
             "decrease or "
             "overrun their tensor, or a pointer is null";
    case ROOFGATE_BAD_ALIGNMENT:
      return "bad alignment: a pointer is not aligned to its element, or a byte count to 64";
    case ROOFGATE_OUT_OF_MEMORY:
      return "out of memory";
    case ROOFGATE_BAD_SCALE:
      return "scale out of range";
    case ROOFGATE_BAD_MASK:
      return "bad mask: a plan with a window or with sequences, sequences of Q or K alone, a "
             "window "
             "bound below -1, or a softcap that is negative or not finite";
    case ROOFGATE_BAD_WORKSPACE:
      return "bad workspace: smaller than the call asked for, or not aligned to 256 bytes";
    default:
      return "unknown status";
  }
}

}  // extern "C"
