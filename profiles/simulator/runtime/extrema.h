// Minimum and maximum of floats.
#pragma once

#include "numerics.h"

namespace roofgate::sim {

// The result of comparing is right for numbers; where they are equal, zeros may differ in sign. Of
// two NaN of f64, the second is kept.
template <class Value>
constexpr Value smaller(Value a, Value b) {
  const Value chosen = a < b || b != b ? a : b;
  return settle(a == b ? from_bits<Value>(to_bits(a) | to_bits(b)) : chosen, b);
}

template <class Value>
constexpr Value larger(Value a, Value b) {
  const Value chosen = a > b || b != b ? a : b;
  return settle(a == b ? from_bits<Value>(to_bits(a) & to_bits(b)) : chosen, b);
}

// .NaN: one NaN is enough.
template <auto kFunction>
inline float with_nan(float a, float b) {
  return canonical(a != a ? a : b != b ? b : kFunction(a, b));
}

// .xorsign.abs: of the magnitudes, with the product's sign.
template <auto kFunction>
inline float with_product_sign(float a, float b) {
  const uint32_t sign = (to_bits(a) ^ to_bits(b)) & 0x80000000u;
  const float magnitude = kFunction(std::fabs(a), std::fabs(b));
  return magnitude == magnitude ? from_bits<float>(to_bits(magnitude) | sign) : magnitude;
}

}  // namespace roofgate::sim
