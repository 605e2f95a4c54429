// ex2 lg2 sin cos tanh rsqrt and the approximate division.
//
// All are polynomials with explicit fma, or correctly rounded operations of the host, so that they
// give the same bits everywhere; not those of hardware, which PTX only bounds. Worst errors,
// measured on every 97th f32, with PTX's bounds: ex2 0.9 ulp (2 ulp), lg2 1.5 ulp (2 ulp) and 2^-24
// absolute between 0.5 and 2 (2^-22), sin and cos 2^-25 absolute for |x| <= pi (2^-20.5), tanh 1.6
// ulp (2^-11 relative), rsqrt 0.5 ulp (2^-22.9 relative).
#include "half.h"
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

// sin(2 pi turns)
double sine_of_turns(double turns) {
  const double inside = turns - std::nearbyint(turns);
  // Mirrored at a quarter of a turn.
  const double mirrored = std::copysign(0.5, inside) - inside;
  const double r = choose(std::fabs(inside) > 0.25, mirrored, inside);
  // sin(2 pi r) / r as a polynomial of r^2; absolute error 4e-13
  return r * polynomial(r * r, 0x1.d5341ebd854bdp+1, -0x1.e29b3b6f8a84bp+3, 0x1.50770e4fd9febp+5,
                        -0x1.32d2c9aee3a10p+6, 0x1.466bc66ec7bd5p+6, -0x1.4abbce624ac16p+5,
                        0x1.921fb54442bb3p+2);
}

constexpr double kTurnsPerRadian = 0.15915494309189533577;

template <bool kFlush>
float sine(float x) {
  const float operand = kFlush ? flush(x) : x;
  const auto result = static_cast<float>(sine_of_turns(operand * kTurnsPerRadian));
  const float rounded = canonical(kFlush ? flush(result) : result);
  return choose(operand == 0, operand, rounded);  // keeps -0
}

template <bool kFlush>
float cosine(float x) {
  const float operand = kFlush ? flush(x) : x;
  return canonical(static_cast<float>(sine_of_turns(operand * kTurnsPerRadian + 0.25)));
}

// From 0.6 on by the exponential; below, where that loses digits, by a polynomial.
float hyperbolic_tangent(float x) {
  const float magnitude = std::fabs(x);
  const float square = magnitude * magnitude;
  // (tanh(x) / x - 1) / x^2; relative error of tanh 1e-8
  const float slope =
      polynomial(square, 0x1.36bdb15482127p-9f, -0x1.1394c968bd5b1p-7f, 0x1.64fad895032fdp-6f,
                 -0x1.ba0d93842548cp-5f, 0x1.1110f598d5c87p-3f, -0x1.55555543c9ce2p-2f);
  const float low = std::fma(magnitude * square, slope, magnitude);
  constexpr float kTwiceLog2E = 2.88539008177792681472f;
  const float power = exponential(choose(magnitude < 10.0f, magnitude, 10.0f) * kTwiceLog2E);
  const float high = 1.0f - 2.0f / (power + 1.0f);
  return canonical(std::copysign(choose(magnitude < 0.6f, low, choose(x == x, high, x)), x));
}

template <bool kFlush>
float reciprocal_root(float x) {
  const double operand = kFlush ? flush(x) : x;
  return canonical(static_cast<float>(1.0 / std::sqrt(operand)));
}

double reciprocal_root_64(double x) { return canonical(1.0 / std::sqrt(x)); }

// The forms rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64 work on the upper half of the number.
double upper_half(double x) {
  const uint64_t bits = to_bits(x) & 0xffffffff00000000;
  const bool subnormal = std::fabs(from_bits<double>(bits)) < DBL_MIN;
  return from_bits<double>(subnormal ? bits & 0x8000000000000000 : bits);
}

double reciprocal_of_upper_half(double x) { return canonical(upper_half(1.0 / upper_half(x))); }

double reciprocal_root_of_upper_half(double x) {
  return canonical(upper_half(1.0 / std::sqrt(upper_half(x))));
}

// PTX: beyond 2^126 the reciprocal of the divisor is taken for zero.
template <bool kFlush>
float quotient(float a, float b) {
  const float dividend = kFlush ? flush(a) : a;
  const float divisor = kFlush ? flush(b) : b;
  const bool huge = std::fabs(divisor) > 0x1p126f && std::fabs(divisor) < kInfinity;
  const float result = choose(huge, dividend * std::copysign(0.0f, divisor), dividend / divisor);
  return canonical(kFlush ? flush(result) : result);
}

template <class Format, int kModifiers, float (*kFunction)(float)>
uint16_t of_half(uint16_t a) {
  return store_half<Format, kModifiers>(kFunction(load_half<Format, kModifiers>(a)));
}

#define ROOFGATE_FLOAT32(name, function)                      \
  ROOFGATE_OPERATION(name ".f32", lanewise<function<false>>); \
  ROOFGATE_OPERATION(name ".ftz.f32", lanewise<function<true>>)

ROOFGATE_FLOAT32("ex2", exp2);
ROOFGATE_FLOAT32("lg2", log2);
ROOFGATE_FLOAT32("sin", sine);
ROOFGATE_FLOAT32("cos", cosine);
ROOFGATE_FLOAT32("rsqrt", reciprocal_root);
ROOFGATE_FLOAT32("div.approx", quotient);
ROOFGATE_OPERATION("tanh.f32", lanewise<hyperbolic_tangent>);
ROOFGATE_OPERATION("rsqrt.f64", lanewise<reciprocal_root_64>);
ROOFGATE_OPERATION("rcp.approx.ftz.f64", lanewise<reciprocal_of_upper_half>);
ROOFGATE_OPERATION("rsqrt.approx.ftz.f64", lanewise<reciprocal_root_of_upper_half>);
ROOFGATE_HALF("ex2", "f16", of_half<Float16, kPlain, exp2<false>>);
ROOFGATE_HALF("ex2.ftz", "bf16", of_half<BFloat16, kFlush, exp2<true>>);
ROOFGATE_HALF("tanh", "f16", of_half<Float16, kPlain, hyperbolic_tangent>);
ROOFGATE_HALF("tanh", "bf16", of_half<BFloat16, kPlain, hyperbolic_tangent>);

}  // namespace
}  // namespace roofgate::sim
