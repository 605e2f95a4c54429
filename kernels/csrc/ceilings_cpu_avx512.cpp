// The fp32 multiply-add ceiling of AVX-512 and its streaming copy.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma.
#if defined(__x86_64__)
#include "ceilings_cpu_avx512.h"

#include "ceilings_cpu_loops.h"

namespace roofgate {
namespace {

struct Avx512Ceiling : Avx512Lines {
  using Operand = __m512;

  static Operand operand(float value) { return _mm512_set1_ps(value); }
  static Vector multiply_add(Vector sum, Operand a, Operand b) {
    return _mm512_fmadd_ps(a, b, sum);
  }
  static void keep(Operand& a, Operand& b) { asm volatile("" : "+v"(a), "+v"(b)); }
};

}  // namespace

const CeilingKernels kCeilingsAvx512 = {
    copy_lines<Avx512Ceiling>, multiply_add_chains<Avx512Ceiling>,
    2.0 * Avx512Ceiling::kLanes * Avx512Ceiling::kChains * kRounds};

}  // namespace roofgate
#endif
