// bf16 in pairs: what the AVX-512 BF16 and the AMX kernel share.
#pragma once

#include "attention_fwd_cpu_avx512.h"

namespace roofgate {
namespace {

struct Avx512Bf16 : Avx512Vectors {
  using Operand = __m512bh;
  static constexpr int kElementsPerUnit = 2;

  static ROOFGATE_INLINE Operand load_operand(const uint32_t* p) {
    return (Operand)_mm512_loadu_si512(p);
  }
  static ROOFGATE_INLINE Operand broadcast_operand(const uint32_t* p) {
    return (Operand)_mm512_set1_epi32(static_cast<int>(*p));
  }
  static ROOFGATE_INLINE Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm512_dpbf16_ps(sum, a, b);
  }
  // One instruction; what the offset's rounding leaves at the reference is lost in bf16.
  static ROOFGATE_INLINE Vector exponent(Vector score, Vector, Vector offset, Vector scale) {
    return _mm512_fmsub_ps(score, scale, offset);
  }
  static ROOFGATE_INLINE Vector exp2(Vector x) { return exp2_of_degree<2>(x); }

  // Units of 16 columns of two rows.
  static ROOFGATE_INLINE void interleave(const uint16_t* even, const uint16_t* odd,
                                         uint32_t* units) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)even));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)odd));
    _mm512_storeu_si512(units, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }

  // A row of fp32 rounded to nearest even bf16; `count` is a multiple of 16. What is smaller than a
  // normal number becomes zero.
  static ROOFGATE_INLINE void narrow(const float* from, uint16_t* to, int count) {
    for (int i = 0; i < count; i += kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                          (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + i)));
    }
  }

  // Rounds two keys' probabilities to bf16, stores them as units and adds them to the sum. Integer
  // instructions, since vcvtne2ps2bf16 would take the ports of vdpbf16ps and leave the pairs in the
  // wrong order. Ties go up, not to even: one case in 65536.
  static ROOFGATE_INLINE Vector store_unit(uint32_t* unit, const Vector (&p)[2], Vector sum) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i even = _mm512_add_epi32(_mm512_castps_si512(p[0]), half);
    const __m512i odd = _mm512_add_epi32(_mm512_castps_si512(p[1]), half);
    const __m512i pair = _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(even, 16), odd);
    _mm512_storeu_si512(unit, pair);
    const __m512i ones = _mm512_set1_epi16(0x3F80);
    return _mm512_dpbf16_ps(sum, (Operand)pair, (Operand)ones);
  }

  // Truncates: what is rescaled has lost its weight.
  static ROOFGATE_INLINE void scale_probabilities(uint32_t* unit, Vector factor) {
    const __m512i pair = _mm512_loadu_si512(unit);
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
    const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(pair, upper));
    const __m512i scaled_even = _mm512_castps_si512(_mm512_mul_ps(even, factor));
    const __m512i scaled_odd = _mm512_castps_si512(_mm512_mul_ps(odd, factor));
    _mm512_storeu_si512(
        unit, _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(scaled_even, 16), scaled_odd));
  }
};

}  // namespace
}  // namespace roofgate
