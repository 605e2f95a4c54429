// The bf16 multiply-add ceiling of AVX-512 BF16: vdpbf16ps, two products and two sums per lane.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mavx512bf16.
#if defined(__x86_64__)
#include "ceilings_cpu_avx512.h"
#include "ceilings_cpu_loops.h"

namespace roofgate {
namespace {

struct Avx512Bf16Ceiling : Avx512Lines {
  using Operand = __m512bh;

  static Operand operand(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (Operand)_mm512_set1_epi16(static_cast<int16_t>(bits >> 16));
  }
  static Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm512_dpbf16_ps(sum, a, b);
  }
  static void keep(Operand& a, Operand& b) { asm volatile("" : "+v"(a), "+v"(b)); }
};

}  // namespace

const CeilingKernels kCeilingsAvx512Bf16 = {
    copy_lines<Avx512Bf16Ceiling>, multiply_add_chains<Avx512Bf16Ceiling>,
    4.0 * Avx512Bf16Ceiling::kLanes * Avx512Bf16Ceiling::kChains * kRounds};

}  // namespace roofgate
#endif
