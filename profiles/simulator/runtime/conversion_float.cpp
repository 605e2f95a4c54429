// cvt from and to floats.
//
// The frequent conversions have handlers of their own. All others go through f64, which holds every
// source exactly, except 64-bit integers: of these the last bit tells whether bits were lost, so
// that rounding them again is right.
#include "half.h"
#include "lanewise.h"
#include "numerics.h"
#include "program.h"
#include "rounding_mode.h"

namespace roofgate::sim {
namespace {

// The types as numbers, which lowering gives: U8 to S64 in this order, then the floats.
enum Kind { kU8, kS8, kU16, kS16, kU32, kS32, kU64, kS64, kF16, kBf16, kF32, kF64, kTf32 };

// Behind the destination and the source.
struct Request {
  Kind from;
  Kind to;
  Rounding rounding;
  bool integral;      // .rni and the like: to a whole number
  bool flush;         // .ftz
  bool saturate;      // .sat
  bool relu;          // .relu
  Overflow overflow;  // .satfinite

  explicit Request(const int64_t* numbers)
      : from(static_cast<Kind>(numbers[0])),
        to(static_cast<Kind>(numbers[1])),
        rounding(static_cast<Rounding>(numbers[2])),
        integral(numbers[3]),
        flush(numbers[4]),
        saturate(numbers[5]),
        relu(numbers[6]),
        overflow(numbers[7] ? Overflow::kSaturate : Overflow::kInfinity) {}
};

template <class T>
double to_double(T value) {
  return static_cast<double>(value);
}

// Of more than 53 bits, the last one kept is set if any below is.
double to_odd_double(uint64_t value) {
  const uint64_t lost = value & 0x7ff;
  const uint64_t kept = (value & ~uint64_t{0x7ff}) | (lost != 0 ? 0x800 : 0);
  return static_cast<double>(value >> 53 ? kept : value);
}

double to_odd_double_signed(int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  return value < 0 ? -to_odd_double(0 - bits) : to_odd_double(bits);
}

double float_to_double(float value) {
  return value == value ? value : widen_to_double<Float32>(to_bits(value));
}

double quieted(double value) { return value == value ? value : quiet(value); }

template <auto kFunction, class T>
[[gnu::flatten]] Lanes<double> load_as(const Lanes<T>& source) {
  Lanes<double> result;
  for (int l = 0; l < kLanes; ++l) result[l] = kFunction(source[l]);
  return result;
}

Lanes<double> load_source(Warp& warp, int64_t operand, Kind kind) {
  switch (kind) {
    case kU8:
      return load_as<to_double<uint8_t>>(warp.lanes<uint16_t>(operand));
    case kS8:
      return load_as<to_double<int8_t>>(warp.lanes<uint16_t>(operand));
    case kU16:
      return load_as<to_double<uint16_t>>(warp.lanes<uint16_t>(operand));
    case kS16:
      return load_as<to_double<int16_t>>(warp.lanes<uint16_t>(operand));
    case kU32:
      return load_as<to_double<uint32_t>>(warp.lanes<uint32_t>(operand));
    case kS32:
      return load_as<to_double<int32_t>>(warp.lanes<int32_t>(operand));
    case kU64:
      return load_as<to_odd_double>(warp.lanes<uint64_t>(operand));
    case kS64:
      return load_as<to_odd_double_signed>(warp.lanes<int64_t>(operand));
    case kF16:
      return load_as<widen_to_double<Float16>>(warp.lanes<uint16_t>(operand));
    case kBf16:
      return load_as<widen_to_double<BFloat16>>(warp.lanes<uint16_t>(operand));
    case kF64:
      return load_as<quieted>(warp.lanes<double>(operand));
    default:
      return load_as<float_to_double>(warp.lanes<float>(operand));
  }
}

double to_whole(double value, Rounding rounding) {
  switch (rounding) {
    case Rounding::kTowardZero:
      return std::trunc(value);
    case Rounding::kDown:
      return std::floor(value);
    case Rounding::kUp:
      return std::ceil(value);
    default:
      return std::nearbyint(value);
  }
}

// .ftz of an f32 on its way; NaN becomes the canonical one of f32.
double flush_single(double value) {
  if (value != value) return widen_to_double<Float32>(Float32::kNan);
  return std::fabs(value) < FLT_MIN ? std::copysign(0.0, value) : value;
}

// What .ftz, rounding to a whole number, .sat and .relu make of the source.
double modify(double value, const Request& request) {
  double result = value;
  if (request.flush && request.from == kF32) result = flush_single(result);
  if (request.integral) result = to_whole(result, request.rounding);
  if (request.saturate) result = saturate(result);
  if (request.relu) result = result <= 0 ? 0.0 : result;
  return result;
}

// --- to floats ---

template <class Format, Rounding kRounding, Overflow kOverflow>
[[gnu::flatten]] void encode_lanes(Lanes<uint32_t>& bits, const Lanes<double>& values) {
  for (int l = 0; l < kLanes; ++l) bits[l] = encode<Format, kRounding, kOverflow>(values[l]);
}

template <class Format, Overflow kOverflow>
void encode_rounded(Lanes<uint32_t>& bits, const Lanes<double>& values, Rounding rounding) {
  switch (rounding) {
    case Rounding::kNearestEven:
      return encode_lanes<Format, Rounding::kNearestEven, kOverflow>(bits, values);
    case Rounding::kTowardZero:
      return encode_lanes<Format, Rounding::kTowardZero, kOverflow>(bits, values);
    case Rounding::kDown:
      return encode_lanes<Format, Rounding::kDown, kOverflow>(bits, values);
    case Rounding::kUp:
      return encode_lanes<Format, Rounding::kUp, kOverflow>(bits, values);
    case Rounding::kNearestAway:
      return encode_lanes<Format, Rounding::kNearestAway, kOverflow>(bits, values);
  }
}

template <class Format>
Lanes<uint32_t> encode_as(const Lanes<double>& values, const Request& request) {
  Lanes<uint32_t> bits;
  if (request.overflow == Overflow::kSaturate) {
    encode_rounded<Format, Overflow::kSaturate>(bits, values, request.rounding);
  } else {
    encode_rounded<Format, Overflow::kInfinity>(bits, values, request.rounding);
  }
  return bits;
}

// NaN of f64 keeps its payload (seen on an H100).
template <class Format>
void keep_payloads(Lanes<uint32_t>& bits, const Lanes<double>& values, const Request& request) {
  if (request.from != kF64 || request.overflow == Overflow::kSaturate) return;
  for (int l = 0; l < kLanes; ++l) {
    if (values[l] != values[l]) bits[l] = narrow_nan<Format>(values[l]);
  }
}

template <class Format>
void store_half_lanes(Warp& warp, int64_t operand, const Lanes<double>& values,
                      const Request& request) {
  Lanes<uint32_t> bits = encode_as<Format>(values, request);
  keep_payloads<Format>(bits, values, request);
  write_lanes(warp.lanes<uint16_t>(operand), warp.executing,
              [&](int l) { return static_cast<uint16_t>(bits[l]); });
}

void store_f32(Warp& warp, int64_t operand, const Lanes<double>& values, const Request& request) {
  Lanes<uint32_t> bits = encode_as<Float32>(values, request);
  keep_payloads<Float32>(bits, values, request);
  write_lanes(warp.lanes<uint32_t>(operand), warp.executing,
              [&](int l) { return request.flush ? flush_bits<Float32>(bits[l]) : bits[l]; });
}

void store_tf32(Warp& warp, int64_t operand, const Lanes<double>& values, const Request& request) {
  const Lanes<uint32_t> bits = encode_as<TensorFloat32>(values, request);
  write_lanes(warp.lanes<uint32_t>(operand), warp.executing,
              [&](int l) { return bits[l] << kTf32Dropped; });
}

// --- to integers ---

// Beyond the range, the nearest number. NaN gives zero, or, as PTX has it where f64 or a 64-bit
// integer takes part, only the highest bit set.
template <class T>
T to_integer(double value, bool from_f64) {
  constexpr double kBeyond = 2.0 * static_cast<double>(std::numeric_limits<T>::max() / 2 + 1);
  constexpr auto kLeast = static_cast<double>(std::numeric_limits<T>::min());
  if (value != value) {
    return from_f64 || sizeof(T) == 8 ? static_cast<T>(uint64_t{1} << (8 * sizeof(T) - 1)) : T{0};
  }
  if (value >= kBeyond) return std::numeric_limits<T>::max();
  return value <= kLeast ? std::numeric_limits<T>::min() : static_cast<T>(value);
}

template <class T, class Register>
void store_integer(Warp& warp, int64_t operand, const Lanes<double>& values,
                   const Request& request) {
  Lanes<Register> result;
  const bool from_f64 = request.from == kF64;
  for (int l = 0; l < kLanes; ++l) {
    result[l] = static_cast<Register>(to_integer<T>(values[l], from_f64));
  }
  write_lanes(warp.lanes<Register>(operand), warp.executing, [&](int l) { return result[l]; });
}

void store_result(Warp& warp, int64_t operand, const Lanes<double>& values,
                  const Request& request) {
  switch (request.to) {
    case kU8:
      return store_integer<uint8_t, uint16_t>(warp, operand, values, request);
    case kS8:
      return store_integer<int8_t, uint16_t>(warp, operand, values, request);
    case kU16:
      return store_integer<uint16_t, uint16_t>(warp, operand, values, request);
    case kS16:
      return store_integer<int16_t, uint16_t>(warp, operand, values, request);
    case kU32:
      return store_integer<uint32_t, uint32_t>(warp, operand, values, request);
    case kS32:
      return store_integer<int32_t, uint32_t>(warp, operand, values, request);
    case kU64:
      return store_integer<uint64_t, uint64_t>(warp, operand, values, request);
    case kS64:
      return store_integer<int64_t, uint64_t>(warp, operand, values, request);
    case kF16:
      return store_half_lanes<Float16>(warp, operand, values, request);
    case kBf16:
      return store_half_lanes<BFloat16>(warp, operand, values, request);
    case kF32:
      return store_f32(warp, operand, values, request);
    case kTf32:
      return store_tf32(warp, operand, values, request);
    case kF64:
      write_lanes(warp.lanes<double>(operand), warp.executing, [&](int l) { return values[l]; });
  }
}

Status convert(Warp& warp, const Instruction& instruction) {
  const Request request(instruction.operands + 2);
  Lanes<double> values = load_source(warp, instruction.operands[1], request.from);
  for (int l = 0; l < kLanes; ++l) values[l] = modify(values[l], request);
  store_result(warp, instruction.operands[0], values, request);
  return Status::kNext;
}

// 64-bit integers to f64: d, a, rounding.
template <class T>
[[gnu::noinline]] void round_to_double(Lanes<double>& result, const Lanes<T>& source) {
  for (int l = 0; l < kLanes; ++l) result[l] = static_cast<double>(source[l]);
}

template <class T>
Status long_to_double(Warp& warp, const Instruction& instruction) {
  Lanes<double> result;
  {
    const RoundingMode mode(static_cast<Rounding>(instruction.operands[2]));
    round_to_double(result, warp.lanes<T>(instruction.operands[1]));
  }
  write_lanes(warp.lanes<double>(instruction.operands[0]), warp.executing,
              [&](int l) { return result[l]; });
  return Status::kNext;
}

// --- the frequent ones ---

template <class To, class From>
To plain(From value) {
  return static_cast<To>(value);
}

float double_to_float(double value) {
  return value == value ? static_cast<float>(value) : from_bits<float>(narrow_nan<Float32>(value));
}

float widen_f16(uint16_t bits) { return decode<Float16>(bits); }

// Only a shift: NaN stays as it is.
uint32_t widen_bf16(uint16_t bits) { return uint32_t{bits} << 16; }

// .rna is an addition to the bits; NaN is cut off, which may make it infinite (seen on an H100).
uint32_t round_away_to_tf32(uint32_t bits) {
  const bool special = (bits & 0x7f800000) == 0x7f800000;
  return (special ? bits : bits + (1u << (kTf32Dropped - 1))) >> kTf32Dropped << kTf32Dropped;
}

template <class Format>
uint16_t narrow(float value) {
  return static_cast<uint16_t>(encode<Format>(value));
}

ROOFGATE_OPERATION("cvt", convert);
ROOFGATE_OPERATION("cvt.f64.u64", long_to_double<uint64_t>);
ROOFGATE_OPERATION("cvt.f64.s64", long_to_double<int64_t>);
ROOFGATE_OPERATION("cvt.f32.f16", lanewise<widen_f16>);
ROOFGATE_OPERATION("cvt.f32.bf16", lanewise<widen_bf16>);
ROOFGATE_OPERATION("cvt.rn.f16.f32", lanewise<narrow<Float16>>);
ROOFGATE_OPERATION("cvt.rn.bf16.f32", lanewise<narrow<BFloat16>>);
ROOFGATE_OPERATION("cvt.f64.f32", lanewise<float_to_double>);
ROOFGATE_OPERATION("cvt.rn.f32.f64", lanewise<double_to_float>);
ROOFGATE_OPERATION("cvt.rna.tf32.f32", lanewise<round_away_to_tf32>);
ROOFGATE_OPERATION("cvt.rn.f32.s32", lanewise<plain<float, int32_t>>);
ROOFGATE_OPERATION("cvt.rn.f32.u32", lanewise<plain<float, uint32_t>>);
ROOFGATE_OPERATION("cvt.rn.f64.s32", lanewise<plain<double, int32_t>>);
ROOFGATE_OPERATION("cvt.rn.f64.u32", lanewise<plain<double, uint32_t>>);

}  // namespace
}  // namespace roofgate::sim
