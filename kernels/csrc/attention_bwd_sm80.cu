// Attention backward for sm_80 and later.
#include "roofgate_abi.h"

int roofgate_attention_bwd(roofgate_attention_bwd_params*, void*) { return ROOFGATE_UNSUPPORTED_DTYPE; }
