// Attention forward with AVX2 and FMA: fp32 arithmetic, on bf16 tensors too.
// Built with -mavx2 -mfma.
#if defined(__x86_64__)
#include <immintrin.h>

#include "attention_fwd_cpu_kernel.h"

namespace roofgate {
namespace {

// 16 registers: 4 x 2 sums, 2 vectors of the right operand, 1 broadcast of the left one, and 5 for
// the softmax that runs between.
struct Avx2 {
  using Vector = __m256;
  using Operand = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kTileVectors = 2;
  static constexpr bool kHasLog = false;
  static constexpr int kBlockRows = 4;
  static constexpr int kElementsPerUnit = 1;

  static ROOFGATE_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static ROOFGATE_INLINE void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static ROOFGATE_INLINE Vector broadcast(float v) { return _mm256_set1_ps(v); }
  static ROOFGATE_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static ROOFGATE_INLINE Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static ROOFGATE_INLINE Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static ROOFGATE_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static ROOFGATE_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  static ROOFGATE_INLINE Vector maximum_if_positive(Vector a, Vector b) { return maximum(a, b); }
  static ROOFGATE_INLINE Vector exponent(Vector score, Vector reference, Vector, Vector scale) {
    return multiply(subtract(score, reference), scale);
  }
  static ROOFGATE_INLINE bool any_greater(Vector a, Vector b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
  }
  // chosen where a > b, otherwise the other one.
  static ROOFGATE_INLINE Vector select_greater(Vector a, Vector b, Vector chosen, Vector other) {
    return _mm256_blendv_ps(other, chosen, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
  }
  // -inf in the lanes whose word lacks the bit.
  static ROOFGATE_INLINE Vector hide_without_bit(Vector scores, const uint32_t* words, int bit) {
    const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    const __m256i hidden = _mm256_cmpeq_epi32(_mm256_and_si256(word, _mm256_set1_epi32(1 << bit)),
                                              _mm256_setzero_si256());
    return _mm256_blendv_ps(scores, _mm256_set1_ps(-__builtin_inff()), _mm256_castsi256_ps(hidden));
  }

  static ROOFGATE_INLINE Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  // a * b + c
  static ROOFGATE_INLINE Vector fused(Vector a, Vector b, Vector c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  static ROOFGATE_INLINE Vector absolute(Vector v) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
  }
  // `magnitude`, which is not negative, with the sign of v.
  static ROOFGATE_INLINE Vector with_sign(Vector magnitude, Vector v) {
    return _mm256_or_ps(magnitude, _mm256_and_ps(v, _mm256_set1_ps(-0.0f)));
  }

  static ROOFGATE_INLINE Operand load_operand(const uint32_t* p) {
    return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static ROOFGATE_INLINE Operand broadcast_operand(const uint32_t* p) {
    return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(*p)));
  }
  static ROOFGATE_INLINE Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm256_fmadd_ps(a, b, sum);
  }

  // 2^x for x <= kHeadroom, exactly 1 at 0 and exactly 0 up to -127. x = n + i/8 + f with |f| <=
  // 1/16: 2^(i/8) from a table in one register, 2^f from a minimax polynomial whose relative error
  // is 2.5e-8.
  static ROOFGATE_INLINE Vector exp2(Vector x) {
    const Vector magic = _mm256_set1_ps(0x1.8p20f);  // adding it rounds to eighths
    const __m256i table = _mm256_setr_epi32(
        // bits of 2^(i/8), less the bits that i adds to the shifted exponent
        0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd,
        0x3f7ac0c7);
    x = _mm256_max_ps(_mm256_set1_ps(-127.0f),
                      x);  // in this order a NaN in x survives
    const Vector shifted = _mm256_add_ps(x, magic);
    const Vector f = _mm256_sub_ps(x, _mm256_sub_ps(shifted, magic));
    const __m256i eighths = _mm256_castps_si256(shifted);
    const Vector power = _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_permutevar8x32_epi32(table, eighths), _mm256_slli_epi32(eighths, 20)));
    Vector slope =
        _mm256_fmadd_ps(_mm256_set1_ps(0x1.c6a002p-5f), f, _mm256_set1_ps(0x1.ec0c3p-3f));
    slope = _mm256_fmadd_ps(slope, f, _mm256_set1_ps(0x1.62e432p-1f));
    return _mm256_fmadd_ps(_mm256_mul_ps(power, f), slope, power);
  }

  static ROOFGATE_INLINE Vector store_unit(uint32_t* unit, const Vector (&p)[1], Vector sum) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(unit), _mm256_castps_si256(p[0]));
    return add(sum, p[0]);
  }
  static ROOFGATE_INLINE void scale_probabilities(uint32_t* unit, Vector factor) {
    store_unit(unit, {multiply(load_operand(unit), factor)}, factor);
  }

  // to[j][i] = from[i][j] for 8 x 8 words.
  template <class Word>
  static ROOFGATE_INLINE void transpose(const Word* from, ptrdiff_t from_stride, Word* to,
                                        ptrdiff_t to_stride) {
    __m256i a[8], b[8];
    ROOFGATE_UNROLL
    for (int i = 0; i < 8; ++i) {
      a[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i * from_stride));
    }
    ROOFGATE_UNROLL
    for (int i = 0; i < 8; i += 2) {
      b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
      b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
    ROOFGATE_UNROLL
    for (int i = 0; i < 8; i += 4) {
      a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
      a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
      a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
      a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // a[4 r + c] holds, in its two 128-bit parts p, column 4 p + c of rows 4 r .. 4 r + 3.
    ROOFGATE_UNROLL
    for (int c = 0; c < 4; ++c) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + c * to_stride),
                          _mm256_permute2x128_si256(a[c], a[4 + c], 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (4 + c) * to_stride),
                          _mm256_permute2x128_si256(a[c], a[4 + c], 0x31));
    }
  }
};

}  // namespace

const AttentionFwdKernel kAttentionFwdAvx2 = {
    QueryTile<Avx2>::kRows, AttentionFwdItem<Avx2, Fp32>::scratch_bytes, run_item_of_dtype<Avx2>};

}  // namespace roofgate
#endif
