// Arithmetic of f16 and bf16, and of two of them in one register.
//
// Sums, differences and products are rounded to f32 and then again, which gives the same as
// rounding once: f32 has more than twice the digits of either and two more. The fused product needs
// an f64 sum that keeps what it lost in its last bit.
#include "half.h"

#include "extrema.h"
#include "lanewise.h"
#include "numerics.h"
#include "program.h"

namespace roofgate::sim {
namespace {

float sum(float a, float b) { return a + b; }
float difference(float a, float b) { return a - b; }
float product(float a, float b) { return a * b; }

template <class Format, int kModifiers, float (*kFunction)(float, float)>
uint16_t binary(uint16_t a, uint16_t b) {
  return store_half<Format, kModifiers>(
      kFunction(load_half<Format, kModifiers>(a), load_half<Format, kModifiers>(b)));
}

// a + b, rounded to odd: where bits are lost, the last one that stays is set.
double sum_to_odd(double a, double b) {
  const double rounded = a + b;
  const double part = rounded - a;
  const double lost = (a - (rounded - part)) + (b - part);  // exact; NaN for an infinite sum
  const uint64_t bits = to_bits(rounded);
  const bool inexact = lost > 0 || lost < 0;
  const bool rounded_up = (lost < 0) != (rounded < 0);
  const uint64_t odd = bits & 1 ? bits : rounded_up ? bits - 1 : bits + 1;
  return from_bits<double>(inexact ? odd : bits);
}

template <class Format, int kModifiers>
uint16_t fused(uint16_t a, uint16_t b, uint16_t c) {
  const double exact =
      static_cast<double>(load_half<Format, kModifiers>(a)) * load_half<Format, kModifiers>(b);
  return store_half<Format, kModifiers>(sum_to_odd(exact, load_half<Format, kModifiers>(c)));
}

// NaN becomes the canonical one, here too (seen on an H100).
template <class Format>
uint16_t canonical_half(uint32_t bits) {
  return static_cast<uint16_t>((bits & Format::kMagnitude) > Format::kInfinity ? Format::kNan
                                                                               : bits);
}

template <class Format, int kModifiers>
uint16_t absolute(uint16_t a) {
  const uint32_t bits = kModifiers & kFlush ? flush_bits<Format>(a) : a;
  return canonical_half<Format>(bits & Format::kMagnitude);
}

template <class Format, int kModifiers>
uint16_t negated(uint16_t a) {
  const uint32_t bits = kModifiers & kFlush ? flush_bits<Format>(a) : a;
  return canonical_half<Format>(bits ^ Format::kSign);
}

#define ROOFGATE_HALF_BINARY(name, function)                                            \
  ROOFGATE_HALF(name, "f16", binary<Float16, kPlain, function>);                        \
  ROOFGATE_HALF(name ".ftz", "f16", binary<Float16, kFlush, function>);                 \
  ROOFGATE_HALF(name ".sat", "f16", binary<Float16, kSaturate, function>);              \
  ROOFGATE_HALF(name ".ftz.sat", "f16", binary<Float16, kFlush | kSaturate, function>); \
  ROOFGATE_HALF(name, "bf16", binary<BFloat16, kPlain, function>)

#define ROOFGATE_HALF_EXTREMUM(name, function)                          \
  ROOFGATE_HALF(name, "f16", binary<Float16, kPlain, function>);        \
  ROOFGATE_HALF(name ".ftz", "f16", binary<Float16, kFlush, function>); \
  ROOFGATE_HALF(name, "bf16", binary<BFloat16, kPlain, function>)

ROOFGATE_HALF_BINARY("add", sum);
ROOFGATE_HALF_BINARY("sub", difference);
ROOFGATE_HALF_BINARY("mul", product);
ROOFGATE_HALF("fma", "f16", fused<Float16, kPlain>);
ROOFGATE_HALF("fma.ftz", "f16", fused<Float16, kFlush>);
ROOFGATE_HALF("fma.sat", "f16", fused<Float16, kSaturate>);
ROOFGATE_HALF("fma.ftz.sat", "f16", fused<Float16, kFlush | kSaturate>);
ROOFGATE_HALF("fma.relu", "f16", fused<Float16, kRelu>);
ROOFGATE_HALF("fma.ftz.relu", "f16", fused<Float16, kFlush | kRelu>);
ROOFGATE_HALF("fma", "bf16", fused<BFloat16, kPlain>);
ROOFGATE_HALF("fma.relu", "bf16", fused<BFloat16, kRelu>);
ROOFGATE_HALF("abs", "f16", absolute<Float16, kPlain>);
ROOFGATE_HALF("abs.ftz", "f16", absolute<Float16, kFlush>);
ROOFGATE_HALF("abs", "bf16", absolute<BFloat16, kPlain>);
ROOFGATE_HALF("neg", "f16", negated<Float16, kPlain>);
ROOFGATE_HALF("neg.ftz", "f16", negated<Float16, kFlush>);
ROOFGATE_HALF("neg", "bf16", negated<BFloat16, kPlain>);
ROOFGATE_HALF_EXTREMUM("min", smaller<float>);
ROOFGATE_HALF_EXTREMUM("max", larger<float>);
ROOFGATE_HALF_EXTREMUM("min.NaN", with_nan<smaller<float>>);
ROOFGATE_HALF_EXTREMUM("max.NaN", with_nan<larger<float>>);
ROOFGATE_HALF_EXTREMUM("min.xorsign", with_product_sign<smaller<float>>);
ROOFGATE_HALF_EXTREMUM("max.xorsign", with_product_sign<larger<float>>);
ROOFGATE_HALF_EXTREMUM("min.NaN.xorsign", with_product_sign<with_nan<smaller<float>>>);
ROOFGATE_HALF_EXTREMUM("max.NaN.xorsign", with_product_sign<with_nan<larger<float>>>);

}  // namespace
}  // namespace roofgate::sim
