// Number formats of PTX and the rounding between them.
//
// Everything is branch-free and of fixed order, so that loops over lanes become vector instructions
// and results are the same on every machine. What PTX leaves open is as an H100 does it, never as
// the host does, whose NaN depends on the operand order that its compiler chose: a NaN result of
// f32, f16 and bf16 is the canonical one (0x7fffffff, 0x7fff); one of f64 keeps the payload of an
// operand (settle).
#pragma once

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace roofgate::sim {

enum class Rounding {
  kNearestEven,  // .rn
  kTowardZero,   // .rz
  kDown,         // .rm
  kUp,           // .rp
  kNearestAway,  // .rna: ties away from zero
};

// What a magnitude beyond the largest finite number becomes.
enum class Overflow {
  kInfinity,  // IEEE: infinity, or the largest number if rounding goes the other way
  kSaturate,  // .satfinite: the largest number, for an infinite input too
};

// --- the formats of whole registers ---

template <class Value>
struct Binary;

template <>
struct Binary<float> {
  using Word = uint32_t;
  using SignedWord = int32_t;
  static constexpr int kExponentBits = 8;
  static constexpr int kMantissaBits = 23;
  static constexpr Word kNan = 0x7fffffff;
};

template <>
struct Binary<double> {
  using Word = uint64_t;
  using SignedWord = int64_t;
  static constexpr int kExponentBits = 11;
  static constexpr int kMantissaBits = 52;
  static constexpr Word kNan = 0x7fffffffffffffff;
};

template <class Value>
constexpr typename Binary<Value>::Word to_bits(Value value) {
  return std::bit_cast<typename Binary<Value>::Word>(value);
}

template <class Value>
constexpr Value from_bits(typename Binary<Value>::Word bits) {
  return std::bit_cast<Value>(bits);
}

// `condition ? a : b` of bits: where ?: may become a jump around the computing of an operand, which
// keeps a loop from becoming vector instructions.
template <class Value>
constexpr Value choose(bool condition, Value a, Value b) {
  using Word = typename Binary<Value>::Word;
  const Word mask = Word{0} - static_cast<Word>(condition);
  return from_bits<Value>((to_bits(a) & mask) | (to_bits(b) & ~mask));
}

template <class Value>
constexpr Value canonical(Value value) {
  return value == value ? value : from_bits<Value>(Binary<Value>::kNan);
}

constexpr double quiet(double nan) {
  return from_bits<double>(to_bits(nan) | uint64_t{1} << (Binary<double>::kMantissaBits - 1));
}

// The result of arithmetic, with the NaN that an H100 gives (driver 580, CUDA 13.0). Of f32: the
// canonical one.
template <class... Operands>
constexpr float settle(float result, Operands...) {
  return canonical(result);
}

// Of f64: the first operand that is NaN, made quiet, with its sign; callers list the operands in
// the order in which the hardware prefers them. If none is, the operation was invalid.
template <class... Operands>
constexpr double settle(double result, Operands... operands) {
  if (result == result) return result;
  for (const double operand : {operands...}) {
    if (operand != operand) return quiet(operand);
  }
  return from_bits<double>(0xfff8000000000000);
}

// .ftz: a subnormal number becomes the zero of its sign.
inline float flush(float value) {
  return std::fabs(value) < FLT_MIN ? from_bits<float>(to_bits(value) & 0x80000000u) : value;
}

// f64 has no .ftz.
inline double flush(double value) { return value; }

// .sat: [0, 1]; NaN and -0 become +0.
template <class Value>
constexpr Value saturate(Value value) {
  return value > 0 ? (value < 1 ? value : Value{1}) : Value{0};
}

// --- small formats, held in the low bits of an integer ---

enum class Specials {
  kIeee,     // exponent of all ones: infinity and NaN
  kNanOnly,  // all ones: NaN; no infinity
};

template <int kExponent, int kMantissa, Specials kSpecial>
struct SmallFloat {
  static constexpr int kExponentBits = kExponent;
  static constexpr int kMantissaBits = kMantissa;
  static constexpr Specials kSpecials = kSpecial;
  static constexpr int kBits = 1 + kExponent + kMantissa;
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr uint32_t kSign = 1u << (kBits - 1);
  static constexpr uint32_t kMagnitude = kSign - 1;
  static constexpr uint32_t kNan = kMagnitude;                                 // canonical
  static constexpr uint32_t kInfinity = kMagnitude >> kMantissa << kMantissa;  // kIeee only
  static constexpr uint32_t kLargest = kSpecial == Specials::kIeee ? kInfinity - 1 : kMagnitude - 1;
};

using Float16 = SmallFloat<5, 10, Specials::kIeee>;
using BFloat16 = SmallFloat<8, 7, Specials::kIeee>;
using TensorFloat32 = SmallFloat<8, 10, Specials::kIeee>;  // the upper 19 bits of an f32
constexpr int kTf32Dropped = 13;                           // the others
using E4M3 = SmallFloat<4, 3, Specials::kNanOnly>;
using E5M2 = SmallFloat<5, 2, Specials::kIeee>;
// f32 itself, to round f64 to it in any direction.
using Float32 = SmallFloat<8, 23, Specials::kIeee>;

// Whether rounding goes away from zero, given the bits that are kept and the rest.
template <Rounding kRounding, class Word>
constexpr bool rounds_up(bool negative, Word kept, Word rest, Word half) {
  switch (kRounding) {
    case Rounding::kNearestEven:
      return rest > half || (rest == half && (kept & 1) && rest != 0);
    case Rounding::kNearestAway:
      return rest >= half && rest != 0;
    case Rounding::kTowardZero:
      return false;
    case Rounding::kDown:
      return negative && rest != 0;
    case Rounding::kUp:
      return !negative && rest != 0;
  }
  return false;
}

// Bits of the magnitude that stands for "too large".
template <class Format, Rounding kRounding, Overflow kOverflow>
constexpr uint32_t overflow_bits(bool negative) {
  if (kOverflow == Overflow::kSaturate) return Format::kLargest;
  if (Format::kSpecials == Specials::kNanOnly) return Format::kNan;
  const bool to_largest = kRounding == Rounding::kTowardZero ||
                          (kRounding == Rounding::kDown && !negative) ||
                          (kRounding == Rounding::kUp && negative);
  return to_largest ? Format::kLargest : Format::kInfinity;
}

// The magnitude without regard to range: the exponent field may grow beyond the format.
template <class Format, Rounding kRounding, class Value>
constexpr typename Binary<Value>::Word round_magnitude(typename Binary<Value>::Word magnitude,
                                                       bool negative) {
  using Source = Binary<Value>;
  using Word = typename Source::Word;
  using SignedWord = typename Source::SignedWord;
  constexpr int kDropped = Source::kMantissaBits - Format::kMantissaBits;
  constexpr SignedWord kSourceBias = (SignedWord{1} << (Source::kExponentBits - 1)) - 1;
  const Word field = magnitude >> Source::kMantissaBits;
  const Word implicit = field != 0 ? Word{1} << Source::kMantissaBits : 0;
  const Word significand = (magnitude & ((Word{1} << Source::kMantissaBits) - 1)) | implicit;
  // Exponent above that of the smallest normal number of the format.
  const SignedWord above =
      static_cast<SignedWord>(field) + (field == 0) - kSourceBias - (1 - Format::kBias);
  const SignedWord below = above < 0 ? -above : 0;
  const SignedWord most = Source::kMantissaBits + 2;  // beyond, all bits are rest
  const SignedWord wanted = kDropped + below;
  const Word shift = static_cast<Word>(wanted < most ? wanted : most);
  const Word kept = significand >> shift;
  const Word rest = significand & ((Word{1} << shift) - 1);
  const Word half = (Word{1} << shift) >> 1;
  const Word up = rounds_up<kRounding>(negative, kept, rest, half);
  return (static_cast<Word>(above < 0 ? 0 : above) << Format::kMantissaBits) + kept + up;
}

// The magnitude of an f32 rounded to the nearest f16 or bf16: what encode() does, in fewer steps.
template <class Format>
constexpr uint32_t round_half_magnitude(uint32_t magnitude) {
  constexpr int kDropped = 23 - Format::kMantissaBits;
  constexpr uint32_t kBiasDifference = static_cast<uint32_t>(127 - Format::kBias) << 23;
  const uint32_t odd = magnitude >> kDropped & 1;
  const uint32_t rounded =
      (magnitude - kBiasDifference + (1u << (kDropped - 1)) - 1 + odd) >> kDropped;
  if constexpr (kBiasDifference == 0) return rounded;
  // Subnormal: adding 1/2 makes the last bit of the sum that of the smallest f16.
  const uint32_t small = to_bits(from_bits<float>(magnitude) + 0.5f) - to_bits(0.5f);
  const uint32_t result = magnitude < kBiasDifference + (1u << 23) ? small : rounded;
  return result < Format::kInfinity ? result : Format::kInfinity;
}

template <class Format>
constexpr uint32_t encode_half(float value) {
  const uint32_t magnitude = to_bits(value) & 0x7fffffff;
  const uint32_t sign = (to_bits(value) & 0x80000000) >> 16;
  const uint32_t result = sign | round_half_magnitude<Format>(magnitude);
  return magnitude > 0x7f800000 ? Format::kNan : result;
}

// The number in Format (its kBits low bits) that `value` rounds to. NaN gives the canonical NaN.
template <class Format, Rounding kRounding = Rounding::kNearestEven,
          Overflow kOverflow = Overflow::kInfinity, class Value>
constexpr uint32_t encode(Value value) {
  constexpr bool kHalf = std::is_same_v<Format, Float16> || std::is_same_v<Format, BFloat16>;
  if constexpr (kHalf && std::is_same_v<Value, float> && kRounding == Rounding::kNearestEven &&
                kOverflow == Overflow::kInfinity) {
    return encode_half<Format>(value);
  }
  using Source = Binary<Value>;
  using Word = typename Source::Word;
  constexpr int kWordBits = 1 + Source::kExponentBits + Source::kMantissaBits;
  constexpr Word kSourceSign = Word{1} << (kWordBits - 1);
  constexpr Word kSourceInfinity = ((Word{1} << Source::kExponentBits) - 1)
                                   << Source::kMantissaBits;
  const Word bits = to_bits(value);
  const Word magnitude = bits & ~kSourceSign;
  const bool negative = (bits & kSourceSign) != 0;
  const Word rounded = round_magnitude<Format, kRounding, Value>(magnitude, negative);
  constexpr Word kLargest = Format::kLargest;
  const Word beyond = overflow_bits<Format, kRounding, kOverflow>(negative);
  Word result = rounded > kLargest ? beyond : rounded;
  if constexpr (Format::kSpecials == Specials::kIeee && kOverflow == Overflow::kInfinity) {
    result = magnitude == kSourceInfinity ? Word{Format::kInfinity} : result;
  }
  result |= negative ? Word{Format::kSign} : 0;
  return static_cast<uint32_t>(magnitude > kSourceInfinity ? Word{Format::kNan} : result);
}

// The value of the kBits low bits of `bits`; exact, for every format is contained in f32. NaN gives
// the canonical NaN.
template <class Format>
constexpr float decode(uint32_t bits) {
  const uint32_t magnitude = bits & Format::kMagnitude;
  const uint32_t sign = (bits & Format::kSign) << (32 - Format::kBits);
  // Put into the fields of f32, the exponent is off by the difference of the biases.
  constexpr float kScale = from_bits<float>(static_cast<uint32_t>(254 - Format::kBias) << 23);
  const uint32_t placed = magnitude << (23 - Format::kMantissaBits);
  uint32_t result = Format::kBias == 127 ? placed : to_bits(from_bits<float>(placed) * kScale);
  if constexpr (Format::kSpecials == Specials::kIeee) {
    result = magnitude >= Format::kInfinity ? placed | 0x7f800000u : result;
    return from_bits<float>(magnitude > Format::kInfinity ? Binary<float>::kNan : sign | result);
  }
  return from_bits<float>(magnitude == Format::kNan ? Binary<float>::kNan : sign | result);
}

// The same as an f64, as an H100 widens: a NaN keeps its sign and payload, and becomes quiet.
template <class Format>
constexpr double widen_to_double(uint32_t bits) {
  const uint32_t magnitude = bits & Format::kMagnitude;
  if (magnitude <= Format::kInfinity) return decode<Format>(bits);
  const uint64_t sign = (bits & Format::kSign) != 0;
  const uint64_t payload = uint64_t{magnitude} << (52 - Format::kMantissaBits);
  return quiet(from_bits<double>(sign << 63 | uint64_t{0x7ff} << 52 | payload));
}

// A NaN of f64 in a smaller format, as an H100 narrows it: the sign and the payload's highest bits.
template <class Format>
constexpr uint32_t narrow_nan(double nan) {
  const uint64_t bits = to_bits(quiet(nan));
  const uint32_t sign = bits >> 63 ? Format::kSign : 0;
  const auto payload = static_cast<uint32_t>(bits >> (52 - Format::kMantissaBits));
  return sign | Format::kInfinity | (payload & ((1u << Format::kMantissaBits) - 1));
}

}  // namespace roofgate::sim
