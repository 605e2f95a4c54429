// Integer arithmetic. Results wrap; handlers of operations that are the same for signed and
// unsigned numbers are named by the width: "add.b32".
#include <bit>
#include <type_traits>

#include "lanewise.h"
#include "program.h"

namespace roofgate::sim {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;

// The integer with twice the bits.
template <class T>
struct Double;
template <>
struct Double<uint16_t> {
  using Type = uint32_t;
};
template <>
struct Double<int16_t> {
  using Type = int32_t;
};
template <>
struct Double<uint32_t> {
  using Type = uint64_t;
};
template <>
struct Double<int32_t> {
  using Type = int64_t;
};
template <>
struct Double<uint64_t> {
  using Type = unsigned __int128;
};
template <>
struct Double<int64_t> {
  using Type = __int128;
};
template <class T>
using Wide = typename Double<T>::Type;

template <class T>
constexpr int kBits = 8 * sizeof(T);

template <class T>
T add(T a, T b) {
  return static_cast<T>(a + b);
}

template <class T>
T subtract(T a, T b) {
  return static_cast<T>(a - b);
}

// In 32 bits at least: the product of two u16 would be a signed one, and overflow.
template <class T>
T multiply(T a, T b) {
  return static_cast<T>(uint64_t{a} * uint64_t{b});
}

template <>
uint32_t multiply<uint32_t>(uint32_t a, uint32_t b) {
  return a * b;
}

template <class T>
T multiply_high(T a, T b) {
  return static_cast<T>(Wide<T>{a} * b >> kBits<T>);
}

template <class T>
Wide<T> multiply_wide(T a, T b) {
  return Wide<T>{a} * b;
}

template <class T>
T multiply_add(T a, T b, T c) {
  return add<T>(multiply<T>(a, b), c);
}

template <class T>
T multiply_add_high(T a, T b, T c) {
  return static_cast<T>(Unsigned<T>(multiply_high<T>(a, b)) + Unsigned<T>(c));
}

template <class T>
Wide<T> multiply_add_wide(T a, T b, Wide<T> c) {
  using Sum = Unsigned<Wide<T>>;
  return static_cast<Wide<T>>(Sum(multiply_wide<T>(a, b)) + Sum(c));
}

int32_t clamp_to_int32(int64_t value) {
  return static_cast<int32_t>(value > INT32_MAX   ? INT32_MAX
                              : value < INT32_MIN ? INT32_MIN
                                                  : value);
}

int32_t add_saturating(int32_t a, int32_t b) { return clamp_to_int32(int64_t{a} + b); }

int32_t subtract_saturating(int32_t a, int32_t b) { return clamp_to_int32(int64_t{a} - b); }

int32_t multiply_add_high_saturating(int32_t a, int32_t b, int32_t c) {
  return clamp_to_int32(int64_t{multiply_high<int32_t>(a, b)} + c);
}

// The low 24 bits, extended to 64.
template <class T>
int64_t low_24_bits(T value) {
  return std::is_signed_v<T> ? static_cast<int32_t>(static_cast<uint32_t>(value) << 8) >> 8
                             : static_cast<int64_t>(value & 0xffffff);
}

template <class T>
T multiply_24(T a, T b) {
  return static_cast<T>(low_24_bits(a) * low_24_bits(b));
}

// Bits 16 to 47 of the 48-bit product.
template <class T>
T multiply_24_high(T a, T b) {
  return static_cast<T>(low_24_bits(a) * low_24_bits(b) >> 16);
}

template <class T>
T multiply_add_24(T a, T b, T c) {
  return static_cast<T>(Unsigned<T>(multiply_24(a, b)) + Unsigned<T>(c));
}

template <class T>
T multiply_add_24_high(T a, T b, T c) {
  return static_cast<T>(Unsigned<T>(multiply_24_high(a, b)) + Unsigned<T>(c));
}

int32_t multiply_add_24_high_saturating(int32_t a, int32_t b, int32_t c) {
  return clamp_to_int32(int64_t{multiply_24_high(a, b)} + c);
}

// c + |a - b|
template <class T>
T absolute_difference(T a, T b, T c) {
  using U = Unsigned<T>;
  const U difference = a > b ? U(a) - U(b) : U(b) - U(a);
  return static_cast<T>(static_cast<U>(difference + U(c)));
}

// PTX leaves division by zero open; an H100 sets all bits of the quotient and of the remainder, for
// every width. The most negative number by -1 wraps.
template <class T>
T divide(T a, T b) {
  if (b == 0) return static_cast<T>(~T{0});
  if (std::is_signed_v<T> && b == static_cast<T>(-1))
    return static_cast<T>(Unsigned<T>(0) - Unsigned<T>(a));
  return static_cast<T>(a / b);
}

template <class T>
T remainder(T a, T b) {
  if (b == 0) return static_cast<T>(~T{0});
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
  return static_cast<T>(a % b);
}

template <class T>
T absolute(T a) {
  return a < 0 ? static_cast<T>(Unsigned<T>(0) - Unsigned<T>(a)) : a;
}

template <class T>
T negated(T a) {
  return static_cast<T>(T{0} - a);
}

template <class T>
T smaller(T a, T b) {
  return a < b ? a : b;
}

template <class T>
T larger(T a, T b) {
  return a > b ? a : b;
}

template <auto kFunction>
int32_t not_negative(int32_t a, int32_t b) {
  return larger<int32_t>(kFunction(a, b), 0);
}

// Two 16-bit numbers in one register.
template <class T, T (*kFunction)(T, T), bool kClampAtZero>
uint32_t both_halves(uint32_t a, uint32_t b) {
  T low = kFunction(static_cast<T>(a), static_cast<T>(b));
  T high = kFunction(static_cast<T>(a >> 16), static_cast<T>(b >> 16));
  if constexpr (kClampAtZero) {
    low = larger<T>(low, 0);
    high = larger<T>(high, 0);
  }
  return static_cast<uint16_t>(low) | static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16;
}

#define ROOFGATE_BY_WIDTH(name, function)                        \
  ROOFGATE_OPERATION(name ".b16", lanewise<function<uint16_t>>); \
  ROOFGATE_OPERATION(name ".b32", lanewise<function<uint32_t>>); \
  ROOFGATE_OPERATION(name ".b64", lanewise<function<uint64_t>>)

#define ROOFGATE_UNSIGNED(name, function)                        \
  ROOFGATE_OPERATION(name ".u16", lanewise<function<uint16_t>>); \
  ROOFGATE_OPERATION(name ".u32", lanewise<function<uint32_t>>); \
  ROOFGATE_OPERATION(name ".u64", lanewise<function<uint64_t>>)

#define ROOFGATE_SIGNED(name, function)                         \
  ROOFGATE_OPERATION(name ".s16", lanewise<function<int16_t>>); \
  ROOFGATE_OPERATION(name ".s32", lanewise<function<int32_t>>); \
  ROOFGATE_OPERATION(name ".s64", lanewise<function<int64_t>>)

#define ROOFGATE_BOTH_SIGNS(name, function) \
  ROOFGATE_UNSIGNED(name, function);        \
  ROOFGATE_SIGNED(name, function)

#define ROOFGATE_NARROW(name, function)                          \
  ROOFGATE_OPERATION(name ".u16", lanewise<function<uint16_t>>); \
  ROOFGATE_OPERATION(name ".s16", lanewise<function<int16_t>>);  \
  ROOFGATE_OPERATION(name ".u32", lanewise<function<uint32_t>>); \
  ROOFGATE_OPERATION(name ".s32", lanewise<function<int32_t>>)

#define ROOFGATE_OF_32_BITS(name, function)                      \
  ROOFGATE_OPERATION(name ".u32", lanewise<function<uint32_t>>); \
  ROOFGATE_OPERATION(name ".s32", lanewise<function<int32_t>>)

ROOFGATE_BY_WIDTH("add", add);
ROOFGATE_BY_WIDTH("sub", subtract);
ROOFGATE_BY_WIDTH("mul.lo", multiply);
ROOFGATE_BY_WIDTH("mad.lo", multiply_add);
ROOFGATE_BY_WIDTH("neg", negated);
ROOFGATE_BOTH_SIGNS("mul.hi", multiply_high);
ROOFGATE_BOTH_SIGNS("mad.hi", multiply_add_high);
ROOFGATE_NARROW("mul.wide", multiply_wide);
ROOFGATE_NARROW("mad.wide", multiply_add_wide);
ROOFGATE_OPERATION("add.sat.s32", lanewise<add_saturating>);
ROOFGATE_OPERATION("sub.sat.s32", lanewise<subtract_saturating>);
ROOFGATE_OPERATION("mad.hi.sat.s32", lanewise<multiply_add_high_saturating>);
ROOFGATE_OF_32_BITS("mul24.lo", multiply_24);
ROOFGATE_OF_32_BITS("mul24.hi", multiply_24_high);
ROOFGATE_OF_32_BITS("mad24.lo", multiply_add_24);
ROOFGATE_OF_32_BITS("mad24.hi", multiply_add_24_high);
ROOFGATE_OPERATION("mad24.hi.sat.s32", lanewise<multiply_add_24_high_saturating>);
ROOFGATE_BOTH_SIGNS("sad", absolute_difference);
ROOFGATE_BOTH_SIGNS("div", divide);
ROOFGATE_BOTH_SIGNS("rem", remainder);
ROOFGATE_SIGNED("abs", absolute);
ROOFGATE_BOTH_SIGNS("min", smaller);
ROOFGATE_BOTH_SIGNS("max", larger);
ROOFGATE_OPERATION("min.relu.s32", lanewise<not_negative<smaller<int32_t>>>);
ROOFGATE_OPERATION("max.relu.s32", lanewise<not_negative<larger<int32_t>>>);
ROOFGATE_OPERATION("add.u16x2", lanewise<both_halves<uint16_t, add<uint16_t>, false>>);
ROOFGATE_OPERATION("min.u16x2", lanewise<both_halves<uint16_t, smaller<uint16_t>, false>>);
ROOFGATE_OPERATION("max.u16x2", lanewise<both_halves<uint16_t, larger<uint16_t>, false>>);
ROOFGATE_OPERATION("min.s16x2", lanewise<both_halves<int16_t, smaller<int16_t>, false>>);
ROOFGATE_OPERATION("max.s16x2", lanewise<both_halves<int16_t, larger<int16_t>, false>>);
ROOFGATE_OPERATION("min.relu.s16x2", lanewise<both_halves<int16_t, smaller<int16_t>, true>>);
ROOFGATE_OPERATION("max.relu.s16x2", lanewise<both_halves<int16_t, larger<int16_t>, true>>);

}  // namespace
}  // namespace roofgate::sim
