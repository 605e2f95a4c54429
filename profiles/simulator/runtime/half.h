// Functions of f16 and bf16 registers made of functions of f32.
#pragma once

#include "lanewise.h"
#include "numerics.h"
#include "program.h"

namespace roofgate::sim {

enum Modifiers { kPlain = 0, kFlush = 1, kSaturate = 2, kRelu = 4 };

// .ftz of a number in a small format.
template <class Format>
constexpr uint32_t flush_bits(uint32_t bits) {
  constexpr uint32_t kExponent = Format::kInfinity;
  return (bits & kExponent) == 0 ? bits & Format::kSign : bits;
}

template <class Format, int kModifiers>
inline float load_half(uint16_t bits) {
  return decode<Format>(kModifiers & kFlush ? flush_bits<Format>(bits) : bits);
}

template <class Format, int kModifiers, class Value>
inline uint16_t store_half(Value value) {
  if constexpr (kModifiers & kSaturate) value = saturate(value);
  if constexpr (kModifiers & kRelu) value = value <= 0 ? Value{0} : value;
  const uint32_t bits = encode<Format>(value);
  return static_cast<uint16_t>(kModifiers & kFlush ? flush_bits<Format>(bits) : bits);
}

// The same of both halves of a register.
template <auto kFunction, class Signature = decltype(kFunction)>
struct Both;

template <auto kFunction, class... Halves>
struct Both<kFunction, uint16_t (*)(Halves...)> {
  template <class>
  using Whole = uint32_t;

  static uint32_t apply(Whole<Halves>... wholes) {
    const uint32_t low = kFunction(static_cast<uint16_t>(wholes)...);
    const uint32_t high = kFunction(static_cast<uint16_t>(wholes >> 16)...);
    return low | high << 16;
  }
};

// Registers a function of one half, and of two in a register.
#define ROOFGATE_HALF(name, type, ...)                      \
  ROOFGATE_OPERATION(name "." type, lanewise<__VA_ARGS__>); \
  ROOFGATE_OPERATION(name "." type "x2", lanewise<&Both<__VA_ARGS__>::apply>)

}  // namespace roofgate::sim
