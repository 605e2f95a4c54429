// bf16 attention backward with AVX-512 BF16: vdpbf16ps multiplies pairs of bf16 and adds in fp32.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma.
#if defined(__x86_64__)
#include "attention_bwd_cpu_bf16.h"
#include "attention_bwd_cpu_engine.h"

namespace roofgate {
namespace {

struct Avx512Bf16 : Bf16Vectors {
  using Operand = __m512bh;
  static constexpr int kElementsPerUnit = 2;
  static constexpr int kBlockRows = 8;

  static ROOFGATE_INLINE Operand load_operand(const uint32_t* p) {
    return (Operand)_mm512_loadu_si512(p);
  }
  static ROOFGATE_INLINE Operand broadcast_operand(const uint32_t* p) {
    return (Operand)_mm512_set1_epi32(static_cast<int>(*p));
  }
  static ROOFGATE_INLINE Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm512_dpbf16_ps(sum, a, b);
  }
  static ROOFGATE_INLINE void store_block(const Probability<Avx512Bf16> (&block)[2][2],
                                          uint32_t* p_pairs, uint32_t* ds_pairs, uint32_t* even_row,
                                          uint32_t* odd_row) {
    store_span(block, p_pairs, ds_pairs, kLanes, even_row, odd_row);
  }
};

}  // namespace

const AttentionBwdKernel kAttentionBwdAvx512Bf16 = bwd_kernel_of<VectorEngine<Avx512Bf16, Bf16>>();

}  // namespace roofgate
#endif
