// Entry point of the host attention backward.
#include "roofgate_abi.h"

extern "C" int roofgate_attention_bwd(roofgate_attention_bwd_params*, void*) {
  return ROOFGATE_UNSUPPORTED_DTYPE;
}
