// cvt of f32 and f16x2 to and from pairs of small floats.
#include "lanewise.h"
#include "numerics.h"
#include "program.h"

namespace roofgate::sim {
namespace {

// .relu: what is below zero becomes +0; NaN stays.
float clamp_at_zero(float value) { return value <= 0 ? 0.0f : value; }

// PTX's order: the first source is the upper half.
template <class Format, class Result, Rounding kRounding, Overflow kOverflow, bool kRelu>
Result pack_pair(float upper, float lower) {
  const float high = kRelu ? clamp_at_zero(upper) : upper;
  const float low = kRelu ? clamp_at_zero(lower) : lower;
  return static_cast<Result>(encode<Format, kRounding, kOverflow>(high)
                                 << (8 * sizeof(Result) / 2) |
                             encode<Format, kRounding, kOverflow>(low));
}

#define ROOFGATE_PACKED(name, Format, kRounding)                                                   \
  ROOFGATE_OPERATION(                                                                              \
      "cvt." name ".f32",                                                                          \
      lanewise<pack_pair<Format, uint32_t, kRounding, Overflow::kInfinity, false>>);               \
  ROOFGATE_OPERATION("cvt.relu." name ".f32",                                                      \
                     lanewise<pack_pair<Format, uint32_t, kRounding, Overflow::kInfinity, true>>); \
  ROOFGATE_OPERATION(                                                                              \
      "cvt.satfinite." name ".f32",                                                                \
      lanewise<pack_pair<Format, uint32_t, kRounding, Overflow::kSaturate, false>>);               \
  ROOFGATE_OPERATION("cvt.satfinite.relu." name ".f32",                                            \
                     lanewise<pack_pair<Format, uint32_t, kRounding, Overflow::kSaturate, true>>)

ROOFGATE_PACKED("rn.f16x2", Float16, Rounding::kNearestEven);
ROOFGATE_PACKED("rz.f16x2", Float16, Rounding::kTowardZero);
ROOFGATE_PACKED("rn.bf16x2", BFloat16, Rounding::kNearestEven);
ROOFGATE_PACKED("rz.bf16x2", BFloat16, Rounding::kTowardZero);

// --- 8-bit floats: two in 16 bits ---

template <class Format, bool kRelu>
uint16_t narrow_pair(float upper, float lower) {
  return pack_pair<Format, uint16_t, Rounding::kNearestEven, Overflow::kSaturate, kRelu>(upper,
                                                                                         lower);
}

template <class Format, bool kRelu>
uint16_t narrow_halves(uint32_t pair) {
  return narrow_pair<Format, kRelu>(decode<Float16>(pair >> 16), decode<Float16>(pair));
}

// Every 8-bit float is an f16.
template <class Format, bool kRelu>
uint32_t widen_pair(uint16_t pair) {
  return pack_pair<Float16, uint32_t, Rounding::kNearestEven, Overflow::kInfinity, kRelu>(
      decode<Format>(pair >> 8), decode<Format>(pair));
}

#define ROOFGATE_8_BITS(type, Format)                                                            \
  ROOFGATE_OPERATION("cvt.satfinite.rn." type ".f32", lanewise<narrow_pair<Format, false>>);     \
  ROOFGATE_OPERATION("cvt.satfinite.relu.rn." type ".f32", lanewise<narrow_pair<Format, true>>); \
  ROOFGATE_OPERATION("cvt.satfinite.rn." type ".f16x2", lanewise<narrow_halves<Format, false>>); \
  ROOFGATE_OPERATION("cvt.satfinite.relu.rn." type ".f16x2",                                     \
                     lanewise<narrow_halves<Format, true>>);                                     \
  ROOFGATE_OPERATION("cvt.rn.f16x2." type, lanewise<widen_pair<Format, false>>);                 \
  ROOFGATE_OPERATION("cvt.relu.rn.f16x2." type, lanewise<widen_pair<Format, true>>)

ROOFGATE_8_BITS("e4m3x2", E4M3);
ROOFGATE_8_BITS("e5m2x2", E5M2);

// --- cvt.pack: d, a, b, c, bits, 1 if signed. From the lowest bits up: b and a, clamped, then c
// ---

uint32_t clamp_to_bits(int32_t value, int64_t bits, bool is_signed) {
  const int64_t most = (int64_t{1} << (is_signed ? bits - 1 : bits)) - 1;
  const int64_t least = is_signed ? -most - 1 : 0;
  const int64_t clamped = value > most ? most : value < least ? least : value;
  return static_cast<uint32_t>(clamped) & static_cast<uint32_t>((int64_t{1} << bits) - 1);
}

Status pack_integers(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const int64_t bits = operands[4];
  const bool is_signed = operands[5] != 0;
  const auto& a = warp.lanes<int32_t>(operands[1]);
  const auto& b = warp.lanes<int32_t>(operands[2]);
  const auto& c = warp.lanes<uint32_t>(operands[3]);
  write_lanes(warp.lanes<uint32_t>(operands[0]), warp.executing, [&](int l) {
    const uint64_t above = uint64_t{c[l]} << (2 * bits);
    return static_cast<uint32_t>(above) | clamp_to_bits(a[l], bits, is_signed) << bits |
           clamp_to_bits(b[l], bits, is_signed);
  });
  return Status::kNext;
}

ROOFGATE_OPERATION("cvt.pack", pack_integers);

}  // namespace
}  // namespace roofgate::sim
