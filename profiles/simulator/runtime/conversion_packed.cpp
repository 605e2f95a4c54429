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

}  // namespace
}  // namespace roofgate::sim
