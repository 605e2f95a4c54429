// The fp32 multiply-add ceiling of AVX2 with FMA and its streaming copy. Built with -mavx2 -mfma.
#if defined(__x86_64__)
#include <immintrin.h>

#include "ceilings_cpu_loops.h"

namespace roofgate {
namespace {

struct Avx2Ceiling {
  using Vector = __m256;
  using Operand = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kChains = 12;  // and two operands: 16 registers

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static float first(Vector v) { return _mm256_cvtss_f32(v); }
  static Operand operand(float value) { return _mm256_set1_ps(value); }
  static Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm256_fmadd_ps(a, b, sum);
  }
  static void keep(Operand& a, Operand& b) { asm volatile("" : "+x"(a), "+x"(b)); }
  static void stream_line(char* to, const char* from) {
    const __m256i* const source = reinterpret_cast<const __m256i*>(from);
    __m256i* const target = reinterpret_cast<__m256i*>(to);
    _mm256_stream_si256(target, _mm256_load_si256(source));
    _mm256_stream_si256(target + 1, _mm256_load_si256(source + 1));
  }
  static void fence() { _mm_sfence(); }
};

}  // namespace

const CeilingKernels kCeilingsAvx2 = {copy_lines<Avx2Ceiling>, multiply_add_chains<Avx2Ceiling>,
                                      2.0 * Avx2Ceiling::kLanes * Avx2Ceiling::kChains * kRounds};

}  // namespace roofgate
#endif
