// The fp32 multiply-add ceiling and the copy of any processor: GCC and clang vector types, which
// are SSE2 (a multiplication and an addition) on baseline x86-64 and NEON on aarch64.
#include <string.h>

#include "ceilings_cpu_loops.h"

namespace roofgate {
namespace {

struct PortableCeiling {
  typedef float Vector __attribute__((vector_size(16)));
  using Operand = Vector;
  static constexpr int kLanes = 4;
  static constexpr int kChains = 12;

  static Vector zero() { return Vector{}; }
  static Vector add(Vector a, Vector b) { return a + b; }
  static float first(Vector v) { return v[0]; }
  static Operand operand(float value) { return Vector{value, value, value, value}; }
  static Vector multiply_add(Vector sum, Operand a, Operand b) { return sum + a * b; }
#if defined(__x86_64__)
  static void keep(Operand& a, Operand& b) { asm volatile("" : "+x"(a), "+x"(b)); }
#else
  static void keep(Operand& a, Operand& b) { asm volatile("" : "+w"(a), "+w"(b)); }
#endif
  // Without streaming stores a copy reads the destination, too: the ceiling comes out lower.
  static void stream_line(char* to, const char* from) { memcpy(to, from, 64); }
  static void fence() {}
};

}  // namespace

const CeilingKernels kCeilingsPortable = {
    copy_lines<PortableCeiling>, multiply_add_chains<PortableCeiling>,
    2.0 * PortableCeiling::kLanes * PortableCeiling::kChains * kRounds};

}  // namespace roofgate
