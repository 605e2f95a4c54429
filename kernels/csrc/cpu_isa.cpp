#include "cpu_isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace roofgate {
namespace {

// Linux gives a process the tile registers only when it asks (Documentation/arch/x86/xstate.rst).
// Asked before the threads of the pool start, for them all.
bool may_use_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#if defined(__x86_64__)
bool has_amx_bf16() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned int kBf16 = 1u << 22, kTile = 1u << 24;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  return (edx & kBf16) && (edx & kTile) && may_use_tiles();
}
#endif

// __builtin_cpu_supports also asks the operating system whether it saves the wide registers.
roofgate_isa detect_best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool has_avx512_bf16 = has_avx512 && __builtin_cpu_supports("avx512bf16");
  if (has_avx512_bf16 && has_amx_bf16()) return ROOFGATE_ISA_AMX_BF16;
  if (has_avx512_bf16) return ROOFGATE_ISA_AVX512_BF16;
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
