// fp32 vectors of any width: the vector types of GCC and clang stand in for intrinsics. SSE2, AVX2,
// AVX-512 or NEON come out, by the flags of the source.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu_compiler.h"

namespace roofgate {
namespace {

template <int kCount>
struct Vectors {
  static constexpr int kLanes = kCount;
  typedef float Vector __attribute__((vector_size(kCount * sizeof(float))));
  typedef int32_t Integers __attribute__((vector_size(kCount * sizeof(int32_t))));
  typedef uint32_t Bits __attribute__((vector_size(kCount * sizeof(uint32_t))));

  static ROOFGATE_INLINE Vector load(const float* p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
  }
  static ROOFGATE_INLINE void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
  // Minus zero, which changes nothing and so costs nothing: plus zero would change -0.
  static ROOFGATE_INLINE Vector broadcast(float v) { return v - Vector{}; }
  static ROOFGATE_INLINE Vector select(Integers mask, Vector a, Vector b) {
    return (Vector)(((Integers)a & mask) | ((Integers)b & ~mask));
  }
  static ROOFGATE_INLINE Vector magnitude(Vector v) {
    return (Vector)((Integers)v & (Integers{} + 0x7FFFFFFF));
  }
  // Lane l where bit l is set, otherwise zero.
  static ROOFGATE_INLINE Vector keep(Vector v, uint32_t bits) {
    const Integers one_bit = (Integers{} + 1) << lane_numbers();
    return select(((Integers{} + static_cast<int32_t>(bits)) & one_bit) != 0, v, Vector{});
  }
  static ROOFGATE_INLINE Integers lane_numbers() {
    alignas(64) static constexpr int32_t kNumbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                         8, 9, 10, 11, 12, 13, 14, 15};
    static_assert(kCount <= 16, "a number for each lane");
    Integers numbers;
    memcpy(&numbers, kNumbers, sizeof numbers);
    return numbers;
  }

  // 2^x, exactly 1 at 0, exactly 0 up to -127 and infinite from 128 on. x = n + f with |f| <= 1/2;
  // the relative error of the minimax polynomial is 2.0e-9.
  static ROOFGATE_INLINE Vector exp2(Vector x) {
    const Vector magic = broadcast(0x1.8p23f);  // adding it rounds to whole numbers
    const Vector lowest = broadcast(-127.0f), highest = broadcast(128.0f);
    x = select(x < lowest, lowest, x);  // a NaN in x survives both
    x = select(x > highest, highest, x);
    const Vector shifted = x + magic;
    const Vector f = x - (shifted - magic);
    const Vector power = (Vector)(((Bits)shifted << 23) + 0x3f800000u);
    Vector slope = broadcast(0x1.41fbaap-13f);
    slope = slope * f + broadcast(0x1.5f3e4cp-10f);
    slope = slope * f + broadcast(0x1.3b2d4cp-7f);
    slope = slope * f + broadcast(0x1.c6aee8p-5f);
    slope = slope * f + broadcast(0x1.ebfbdcp-3f);
    slope = slope * f + broadcast(0x1.62e43p-1f);
    return power * (f * slope + broadcast(1.0f));
  }

  // Relative error below 2e-7. Up to 5/8 an odd minimax polynomial (4.4e-9), beyond it
  // 1 - 2 / (e^2x + 1), which no longer cancels.
  static ROOFGATE_INLINE Vector tanh(Vector x) {
    const Vector size = magnitude(x);
    const Vector z = x * x;
    Vector slope = broadcast(-0x1.75d506p-8f);
    slope = slope * z + broadcast(0x1.5223dcp-6f);
    slope = slope * z + broadcast(-0x1.b83bf4p-5f);
    slope = slope * z + broadcast(0x1.110724p-3f);
    slope = slope * z + broadcast(-0x1.555532p-2f);
    const Vector near = x * z * slope + x;
    const Vector growth = exp2(size * broadcast(0x1.715476p+1f));  // 2 log2(e)
    const Vector far = broadcast(1.0f) - broadcast(2.0f) / (growth + broadcast(1.0f));
    const Integers sign = (Integers)x & (Integers{} + INT32_MIN);
    return select(size < broadcast(0.625f), near, (Vector)((Integers)far | sign));
  }
};

}  // namespace
}  // namespace roofgate
