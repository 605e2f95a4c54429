// What the two AVX-512 ceilings share.
#pragma once

#include <stdint.h>
#include <string.h>

#include "cpu_avx512_intrinsics.h"

namespace roofgate {
namespace {

struct Avx512Lines {
  using Vector = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kChains = 24;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static float first(Vector v) { return _mm512_cvtss_f32(v); }
  static void stream_line(char* to, const char* from) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_load_si512(from));
  }
  static void fence() { _mm_sfence(); }
};

}  // namespace
}  // namespace roofgate
