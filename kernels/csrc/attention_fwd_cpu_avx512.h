// What the two AVX-512 kernels share: fp32 vectors, 2^x and the transposition.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "attention_fwd_cpu_tile.h"
#include "cpu_avx512_intrinsics.h"

namespace roofgate {
namespace {

// 32 registers: 8 x 2 sums (the latency of 6 cycles at two a cycle needs 12), 2 vectors of the
// right operand, 1 broadcast of the left one, and 13 for the softmax that runs between.
struct Avx512Vectors {
  using Vector = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kTileVectors = 2;
  static constexpr bool kHasLog = true;
  static constexpr int kBlockRows = 8;

  static ROOFGATE_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static ROOFGATE_INLINE void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static ROOFGATE_INLINE Vector broadcast(float v) { return _mm512_set1_ps(v); }
  static ROOFGATE_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static ROOFGATE_INLINE Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static ROOFGATE_INLINE Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static ROOFGATE_INLINE Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static ROOFGATE_INLINE Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  // The maximum where that is positive, otherwise something that is not. An integer instruction,
  // which any port takes: those for additions are the busiest of the softmax.
  static ROOFGATE_INLINE Vector maximum_if_positive(Vector a, Vector b) {
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
  }
  static ROOFGATE_INLINE bool any_greater(Vector a, Vector b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
  }
  // chosen where a > b, otherwise the other one.
  static ROOFGATE_INLINE Vector select_greater(Vector a, Vector b, Vector chosen, Vector other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), other, chosen);
  }
  // -inf in the lanes whose word lacks the bit.
  static ROOFGATE_INLINE Vector hide_without_bit(Vector scores, const uint32_t* words, int bit) {
    const __mmask16 visible =
        _mm512_test_epi32_mask(_mm512_loadu_si512(words), _mm512_set1_epi32(1 << bit));
    return _mm512_mask_blend_ps(visible, _mm512_set1_ps(-__builtin_inff()), scores);
  }

  static ROOFGATE_INLINE Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  // a * b + c
  static ROOFGATE_INLINE Vector fused(Vector a, Vector b, Vector c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  // Natural logarithm of what is not negative, infinity included; a NaN stays one. x = m 2^e with
  // 3/4 <= m < 3/2, and log m = 2 artanh(s) with s = (m - 1) / (m + 1), |s| <= 1/5: what the series
  // leaves out is below 4e-9.
  static ROOFGATE_INLINE Vector log(Vector x) {
    const Vector one = _mm512_set1_ps(1.0f);
    const Vector m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    const Vector e = _mm512_getexp_ps(_mm512_div_ps(x, m));
    const Vector s = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one));
    const Vector z = _mm512_mul_ps(s, s);
    Vector slope = _mm512_fmadd_ps(_mm512_set1_ps(2.0f / 9), z, _mm512_set1_ps(2.0f / 7));
    slope = _mm512_fmadd_ps(slope, z, _mm512_set1_ps(2.0f / 5));
    slope = _mm512_fmadd_ps(slope, z, _mm512_set1_ps(2.0f / 3));
    const Vector rest = _mm512_fmadd_ps(_mm512_mul_ps(s, z), slope, _mm512_add_ps(s, s));
    return _mm512_fmadd_ps(e, _mm512_set1_ps(0x1.62e43p-1f), rest);
  }
  static ROOFGATE_INLINE Vector absolute(Vector v) { return _mm512_abs_ps(v); }
  // `magnitude`, which is not negative, with the sign of v.
  static ROOFGATE_INLINE Vector with_sign(Vector magnitude, Vector v) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(v, _mm512_set1_ps(-0.0f)));
  }

  // 2^x for x <= kHeadroom, exactly 1 at 0 and exactly 0 up to -127. x = n + i/16 + f with |f| <=
  // 1/32: 2^(i/16) comes from a table in one register, 2^f from a polynomial whose relative error
  // is 4.3e-7 for degree 2 and 1.6e-9 for degree 3 (minimax, 2^0 = 1 held). Of the 10 instructions
  // only 3 or 4 use the ports of the multiply-adds.
  template <int kDegree>
  static ROOFGATE_INLINE Vector exp2_of_degree(Vector x) {
    const Vector magic = _mm512_set1_ps(0x1.8p19f);  // adding it rounds to sixteenths
    const __m512i table = _mm512_setr_epi32(
        // bits of 2^(i/16), less the bits that i adds to the shifted exponent
        0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7,
        0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf,
        0x3f7ac0c7, 0x3f7d257d);
    x = _mm512_max_ps(_mm512_set1_ps(-127.0f),
                      x);  // in this order a NaN in x survives
    const Vector shifted = _mm512_add_ps(x, magic);
    const Vector f = _mm512_sub_ps(x, _mm512_sub_ps(shifted, magic));
    const __m512i sixteenths = _mm512_castps_si512(shifted);
    const Vector power = _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_permutexvar_epi32(sixteenths, table), _mm512_slli_epi32(sixteenths, 19)));
    Vector slope;
    if (kDegree == 2) {
      slope = _mm512_fmadd_ps(_mm512_set1_ps(0x1.ebfbd6p-3f), f, _mm512_set1_ps(0x1.62e98p-1f));
    } else {
      slope = _mm512_fmadd_ps(_mm512_set1_ps(0x1.c6ac6ap-5f), f, _mm512_set1_ps(0x1.ebfff4p-3f));
      slope = _mm512_fmadd_ps(slope, f, _mm512_set1_ps(0x1.62e43p-1f));
    }
    return _mm512_fmadd_ps(_mm512_mul_ps(power, f), slope, power);
  }

  // to[j][i] = from[i][j] for 16 x 16 words.
  template <class Word>
  static ROOFGATE_INLINE void transpose(const Word* from, ptrdiff_t from_stride, Word* to,
                                        ptrdiff_t to_stride) {
    const auto load = [&](int i) __attribute__((always_inline)) {
      return _mm512_loadu_si512(from + i * from_stride);
    };
    const auto store = [&](int j, __m512i row) __attribute__((always_inline)) {
      _mm512_storeu_si512(to + j * to_stride, row);
    };
    transpose_with(load, store);
  }

  // The same, where load(i) is row i and store(j, row) takes row j of the result.
  template <class Load, class Store>
  static ROOFGATE_INLINE void transpose_with(Load load, Store store) {
    __m512i a[16], b[16];
    ROOFGATE_UNROLL
    for (int i = 0; i < 16; ++i) a[i] = load(i);
    ROOFGATE_UNROLL
    for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    ROOFGATE_UNROLL
    for (int i = 0; i < 16; i += 4) {
      a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
      a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
      a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
      a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // a[4 r + c] holds, in its four 128-bit parts p, column 4 p + c of rows 4 r .. 4 r + 3.
    ROOFGATE_UNROLL
    for (int c = 0; c < 4; ++c) {
      const __m512i low01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x44);
      const __m512i high01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xEE);
      const __m512i low23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x44);
      const __m512i high23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xEE);
      store(c, _mm512_shuffle_i32x4(low01, low23, 0x88));
      store(4 + c, _mm512_shuffle_i32x4(low01, low23, 0xDD));
      store(8 + c, _mm512_shuffle_i32x4(high01, high23, 0x88));
      store(12 + c, _mm512_shuffle_i32x4(high01, high23, 0xDD));
    }
  }
};

}  // namespace
}  // namespace roofgate
