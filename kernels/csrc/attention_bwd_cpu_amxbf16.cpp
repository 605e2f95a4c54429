// bf16 attention backward on AMX tiles: tdpbf16ps multiplies 16 rows of 32 elements by 16 columns.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mamx-tile -mamx-bf16 -mfma.
#if defined(__x86_64__)
#include "attention_bwd_cpu_amx.h"
#include "attention_bwd_cpu_item.h"

namespace roofgate {

const AttentionBwdKernel kAttentionBwdAmxBf16 = bwd_kernel_of<AmxEngine>();

}  // namespace roofgate
#endif
