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

  // to[unit][lane] = units [first, first + 16) of rows[lane], as far as there are; zero for null
  // rows.
  static ROOFGATE_INLINE void transpose_rows(const uint16_t* const (&rows)[kLanes], int first,
                                             int units, bool negate, uint32_t* to,
                                             ptrdiff_t to_stride) {
    const __mmask16 present = units - first >= kLanes ? 0xFFFF : (1 << (units - first)) - 1;
    const __m512i signs = _mm512_set1_epi32(negate ? static_cast<int>(0x80008000) : 0);
    const auto load = [&](int lane) __attribute__((always_inline)) {
      const __mmask16 mask = rows[lane] == nullptr ? 0 : present;
      return _mm512_xor_si512(signs, _mm512_maskz_loadu_epi32(mask, rows[lane] + 2 * first));
    };
    const auto store = [&](int unit, __m512i row) __attribute__((always_inline)) {
      _mm512_storeu_si512(to + unit * to_stride, row);
    };
    transpose_with(load, store);
  }

  // Units [first, first + 16) of rows[lane], as far as there are, from columns of fp32 that lie
  // `stride` apart, times the lane's factor. Null rows are skipped. Rounded before they are
  // transposed, pairs of bf16 are half the work.
  static ROOFGATE_INLINE void unpack_rows(const float* columns, ptrdiff_t stride, Vector factor,
                                          int first, int units, uint16_t* const (&rows)[kLanes]) {
    const int count = units - first >= kLanes ? kLanes : units - first;
    const __mmask16 present = (1u << count) - 1;
    const auto load = [&](int i) __attribute__((always_inline)) {
      const float* const even = columns + (2 * first + 2 * (i < count ? i : 0)) * stride;
      return _mm512_castps_si512(round_pair(multiply(Avx512Vectors::load(even), factor),
                                            multiply(Avx512Vectors::load(even + stride), factor)));
    };
    const auto store = [&](int lane, __m512i row) __attribute__((always_inline)) {
      if (rows[lane] == nullptr) return;
      _mm512_mask_storeu_epi32(rows[lane] + 2 * first, present, row);
    };
    transpose_with(load, store);
  }

  // Units of two fp32 rounded to nearest even bf16, as vector of the same bits. What is smaller
  // than a normal number becomes zero.
  static ROOFGATE_INLINE Vector round_pair(Vector even, Vector odd) {
    // Word i takes element i of both: 16 + i of the narrowed pair is the odd one.
    const __m512i order = _mm512_set_epi32(
        0x1F000F, 0x1E000E, 0x1D000D, 0x1C000C, 0x1B000B, 0x1A000A, 0x190009, 0x180008, 0x170007,
        0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return _mm512_castsi512_ps(
        _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even)));
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
