// What the two engines of bf16 products share: 2^x, and P and dS rounded to bf16.
// Needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16.
#pragma once

#include "attention_bwd_cpu_scores.h"
#include "attention_cpu_vectors.h"
#include "cpu_avx512_intrinsics.h"

namespace roofgate {
namespace {

struct Bf16Vectors : Vectors<16> {
  static ROOFGATE_INLINE Vector keep(Vector v, uint32_t bits) {
    return _mm512_maskz_mov_ps(static_cast<__mmask16>(bits), v);
  }

  // 2^x = 2^floor(x) * 2^f: the relative error of the minimax polynomial is 2.9e-6, 2^0 is exact.
  // Eight operations on the ports of the additions, of which the forward's table would take ten;
  // whatever x is, it needs no clamp.
  static ROOFGATE_INLINE Vector exp2(Vector x) {
    constexpr int kFloor = 1;
    const Vector f = _mm512_reduce_ps(x, kFloor);
    Vector power = _mm512_fmadd_ps(_mm512_set1_ps(0x1.b7f736p-7f), f, broadcast(0x1.abf866p-5f));
    power = _mm512_fmadd_ps(power, f, broadcast(0x1.ee2452p-3f));
    power = _mm512_fmadd_ps(power, f, broadcast(0x1.62d6c6p-1f));
    power = _mm512_fmadd_ps(power, f, broadcast(1.0f));
    return _mm512_scalef_ps(power, x);
  }

  // Pairs of rows are interleaved within 128-bit parts, which puts the keys of a span of 32 into
  // this order of columns; sums over them keep it until the end.
  static int column_of_key(int key) {
    return (key & ~31) | (key & 4) << 2 | (key & 24) >> 1 | (key & 3);
  }

  // Two rows by a span of 32 keys: dS by rows, P and dS by pairs, 16 columns each to `pairs` and
  // `pairs + pair_stride`.
  template <class Block>
  static ROOFGATE_INLINE void store_span(const Block (&block)[2][2], uint32_t* p_pairs,
                                         uint32_t* ds_pairs, ptrdiff_t pair_stride,
                                         uint32_t* even_row, uint32_t* odd_row) {
    store_pairs(round(block[0][0].p, block[0][1].p), round(block[1][0].p, block[1][1].p), p_pairs,
                pair_stride);
    const __m512i even = round(block[0][0].ds, block[0][1].ds);
    const __m512i odd = round(block[1][0].ds, block[1][1].ds);
    _mm512_storeu_si512(even_row, even);
    _mm512_storeu_si512(odd_row, odd);
    store_pairs(even, odd, ds_pairs, pair_stride);
  }

 private:
  static ROOFGATE_INLINE __m512i round(Vector low, Vector high) {
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
  }
  static ROOFGATE_INLINE void store_pairs(__m512i even, __m512i odd, uint32_t* pairs,
                                          ptrdiff_t stride) {
    _mm512_storeu_si512(pairs, _mm512_unpacklo_epi16(even, odd));
    _mm512_storeu_si512(pairs + stride, _mm512_unpackhi_epi16(even, odd));
  }
};

}  // namespace
}  // namespace roofgate
