// bf16 attention forward with AVX-512 BF16: vdpbf16ps multiplies pairs of bf16 and adds in fp32.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma.
#if defined(__x86_64__)
#include "attention_fwd_cpu_avx512bf16.h"

#include "attention_fwd_cpu_kernel.h"

namespace roofgate {
const AttentionFwdKernel kAttentionFwdAvx512Bf16 = {
    QueryTile<Avx512Bf16>::kRows, AttentionFwdItem<Avx512Bf16, Bf16>::scratch_bytes,
    run_item_of_element<Avx512Bf16, Bf16>};

}  // namespace roofgate
#endif
