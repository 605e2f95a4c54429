#include "cpu_isa.h"

namespace roofgate {
namespace {

// __builtin_cpu_supports also asks the operating system whether it saves the wide registers.
roofgate_isa detect_best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (has_avx512 && __builtin_cpu_supports("avx512bf16")) return ROOFGATE_ISA_AVX512_BF16;
  if (has_avx512) return ROOFGATE_ISA_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return ROOFGATE_ISA_AVX2;
#endif
  return ROOFGATE_ISA_PORTABLE;
}

}  // namespace

roofgate_isa best_isa() {
  static const roofgate_isa best = detect_best_isa();
  return best;
}

// The enum is ordered: each instruction set implies the ones before it.
roofgate_status resolve_isa(int32_t requested, roofgate_isa* resolved) {
  if (requested < ROOFGATE_ISA_AUTO || requested > best_isa()) return ROOFGATE_UNSUPPORTED_ISA;
  *resolved = requested == ROOFGATE_ISA_AUTO ? best_isa() : static_cast<roofgate_isa>(requested);
  return ROOFGATE_OK;
}

}  // namespace roofgate
