// Attention forward with AVX-512: fp32 arithmetic, on bf16 tensors too.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma.
#if defined(__x86_64__)
#include "attention_fwd_cpu_avx512.h"

#include "attention_fwd_cpu_kernel.h"

namespace roofgate {
namespace {

struct Avx512 : Avx512Vectors {
  using Operand = __m512;
  static constexpr int kElementsPerUnit = 1;

  static ROOFGATE_INLINE Operand load_operand(const uint32_t* p) {
    return _mm512_castsi512_ps(_mm512_loadu_si512(p));
  }
  static ROOFGATE_INLINE Operand broadcast_operand(const uint32_t* p) {
    return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(*p)));
  }
  static ROOFGATE_INLINE Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm512_fmadd_ps(a, b, sum);
  }
  // Exactly 0 at the reference, so that a single key's weight is exactly 1.
  static ROOFGATE_INLINE Vector exponent(Vector score, Vector reference, Vector, Vector scale) {
    return _mm512_mul_ps(_mm512_sub_ps(score, reference), scale);
  }
  static ROOFGATE_INLINE Vector exp2(Vector x) { return exp2_of_degree<3>(x); }

  static ROOFGATE_INLINE Vector store_unit(uint32_t* unit, const Vector (&p)[1], Vector sum) {
    _mm512_storeu_ps(unit, p[0]);
    return _mm512_add_ps(sum, p[0]);
  }
  static ROOFGATE_INLINE void scale_probabilities(uint32_t* unit, Vector factor) {
    _mm512_storeu_ps(unit, _mm512_mul_ps(_mm512_loadu_ps(unit), factor));
  }
};

}  // namespace

const AttentionFwdKernel kAttentionFwdAvx512 = {QueryTile<Avx512>::kRows,
                                                AttentionFwdItem<Avx512, Fp32>::scratch_bytes,
                                                run_item_of_dtype<Avx512>};

}  // namespace roofgate
#endif
