// ex2 lg2 sin cos tanh rsqrt and the approximate division.
//
// All are polynomials with explicit fma, or correctly rounded operations of the host, so that they
// give the same bits everywhere; not those of hardware, which PTX only bounds. Worst errors, over
// all of f32: ex2 1 ulp (PTX: 2), lg2 1 ulp, and 2^-23 absolute between 0.5 and 2 (2^-22), sin and
// cos 1 ulp of 1 (2^-20.9 for |x| <= pi), tanh 1 ulp (2^-11 relative), rsqrt 1 ulp (2^-22.9).
#include "lanewise.h"
#include "numerics.h"
#include "program.h"

namespace roofgate::sim {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = from_bits<float>(Binary<float>::kNan);

// Coefficients from the highest power down; interpolated at the Chebyshev points of the interval.
template <class Value>
Value polynomial(Value, Value sum) {
  return sum;
}

template <class Value, class... Lower>
Value polynomial(Value x, Value sum, Value next, Lower... lower) {
  return polynomial(x, std::fma(sum, x, next), lower...);
}

float power_of_two(int32_t exponent) {
  return from_bits<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

// 2^x for x from -150 to 129: x = n + f with |f| <= 1/2. 2^n comes in two factors, since 2^128 and
// 2^-150 are no numbers; only the last product rounds to a subnormal number.
float exponential(float x) {
  const float n = std::nearbyint(x);
  const float f = x - n;
  // (2^f - 1) / f; relative error of 2^f 5e-9
  const float slope = polynomial(f, 0x1.4413896dp-13f, 0x1.5f089015p-10f, 0x1.3b2a530452p-7f,
                                 0x1.c6af6cdbbep-5f, 0x1.ebfbe00e63p-3f, 0x1.62e4302fc6p-1f);
  const float power = std::fma(f, slope, 1.0f);
  const auto exponent = static_cast<int32_t>(n);
  const int32_t first = exponent >> 1;
  return power * power_of_two(first) * power_of_two(exponent - first);
}

// Results below kLowest are 0. What would be computed below is kept away from the host, for which
// subnormal numbers are slow.
template <bool kFlush>
float exp2(float x) {
  constexpr float kLowest = kFlush ? -126.0f : -150.0f;
  constexpr float kSafe = -126.0f;
  const float high = choose(x < 129.0f, x, 129.0f);
  const float inside = choose(high >= kLowest, high, kSafe);
  const float result = choose(x >= kLowest, exponential(inside), 0.0f);
  return choose(x == x, result, kNan);
}

// log2(x) of a positive normal number: x = 2^k (1 + t) with 1 + t from sqrt(1/2) to sqrt(2).
float logarithm(float x) {
  constexpr uint32_t kRootOfHalf = 0x3f3504f3;
  const auto k = static_cast<int32_t>(to_bits(x) - kRootOfHalf) >> 23;
  const float t = from_bits<float>(to_bits(x) - (static_cast<uint32_t>(k) << 23)) - 1.0f;
  // log2(1 + t) / t, relative error 5e-9
  const float slope =
      polynomial(t, -0x1.b85fc10e0ap-4f, 0x1.7a713e8d72p-3f, -0x1.87fa6d388bp-3f,
                 0x1.a38ac06ea1p-3f, -0x1.eab70a5a43p-3f, 0x1.277a5990a3p-2f, -0x1.715a7261d9p-2f,
                 0x1.ec70a95830p-2f, -0x1.715470bd2bp-1f, 0x1.7154764ee6p+0f);
  return std::fma(t, slope, static_cast<float>(k));
}

template <bool kFlush>
float log2(float x) {
  const float operand = kFlush ? flush(x) : x;
  // A subnormal number is brought into the normal range.
  const bool small = operand < FLT_MIN;
  const float scaled = operand * choose(small, 0x1p24f, 1.0f);
  const bool usual = scaled >= FLT_MIN && scaled < kInfinity;
  const float result = logarithm(choose(usual, scaled, 1.0f)) - choose(small, 24.0f, 0.0f);
  const float special = choose(operand == 0, -kInfinity, choose(operand > 0, kInfinity, kNan));
  return choose(usual, result, special);
}

ROOFGATE_OPERATION("ex2.f32", lanewise<exp2<false>>);
ROOFGATE_OPERATION("ex2.ftz.f32", lanewise<exp2<true>>);
ROOFGATE_OPERATION("lg2.f32", lanewise<log2<false>>);
ROOFGATE_OPERATION("lg2.ftz.f32", lanewise<log2<true>>);

}  // namespace
}  // namespace roofgate::sim
