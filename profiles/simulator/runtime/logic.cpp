// Bits: and or xor not cnot lop3, shifts and funnels, fields, counts, permutations; and the logic
// of predicates.
#include <bit>
#include <type_traits>

#include "lanewise.h"
#include "program.h"

namespace roofgate::sim {
namespace {

template <class T>
constexpr uint32_t kBits = 8 * sizeof(T);

template <class T>
T bitwise_and(T a, T b) {
  return a & b;
}

template <class T>
T bitwise_or(T a, T b) {
  return a | b;
}

template <class T>
T bitwise_xor(T a, T b) {
  return a ^ b;
}

template <class T>
T complement(T a) {
  return static_cast<T>(~a);
}

template <class T>
T logical_not(T a) {
  return a == 0;
}

// Shifts of the register's width or more leave nothing, or only the sign.
template <class T>
T shift_left(T a, uint32_t count) {
  return count < kBits<T> ? static_cast<T>(a << (count & (kBits<T> - 1))) : T{0};
}

template <class T>
T shift_right(T a, uint32_t count) {
  const uint32_t most = kBits<T> - 1;
  if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (count < most ? count : most));
  return count <= most ? static_cast<T>(a >> (count & most)) : T{0};
}

// Funnel shifts of high:low.
template <bool kClamp>
uint32_t funnel_count(uint32_t count) {
  return kClamp ? (count < 32 ? count : 32) : count & 31;
}

template <bool kClamp>
uint32_t funnel_left(uint32_t low, uint32_t high, uint32_t count) {
  const uint64_t both = uint64_t{high} << 32 | low;
  return static_cast<uint32_t>(both << funnel_count<kClamp>(count) >> 32);
}

template <bool kClamp>
uint32_t funnel_right(uint32_t low, uint32_t high, uint32_t count) {
  const uint64_t both = uint64_t{high} << 32 | low;
  return static_cast<uint32_t>(both >> funnel_count<kClamp>(count));
}

// d, a, b, c, table: bit (a << 2 | b << 1 | c) of the table, for each bit.
Status lookup_3(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const auto& a = warp.lanes<uint32_t>(operands[1]);
  const auto& b = warp.lanes<uint32_t>(operands[2]);
  const auto& c = warp.lanes<uint32_t>(operands[3]);
  uint32_t term[8];
  for (int i = 0; i < 8; ++i) term[i] = operands[4] >> i & 1 ? ~0u : 0u;
  write_lanes(warp.lanes<uint32_t>(operands[0]), warp.executing, [&](int l) {
    const uint32_t x = a[l], y = b[l], z = c[l];
    return (~x &
            ((~y & ((~z & term[0]) | (z & term[1]))) | (y & ((~z & term[2]) | (z & term[3]))))) |
           (x & ((~y & ((~z & term[4]) | (z & term[5]))) | (y & ((~z & term[6]) | (z & term[7])))));
  });
  return Status::kNext;
}

// --- fields ---

// The bits from 0 to count - 1; count may be the width or more.
template <class T>
T low_bits(uint32_t count) {
  return count < kBits<T> ? static_cast<T>((T{1} << (count & (kBits<T> - 1))) - 1)
                          : static_cast<T>(~T{0});
}

// Positions and lengths are taken from the low 8 bits, as PTX says. Those of 64-bit fields are not:
// an H100, whose driver makes them of shifts, takes all bits.
template <class T>
uint32_t field_bound(uint32_t bits) {
  return sizeof(T) == 8 ? bits : bits & 0xff;
}

template <class T>
T extract_unsigned(T a, uint32_t position, uint32_t length) {
  position = field_bound<T>(position);
  length = field_bound<T>(length);
  return shift_right<T>(a, position) & low_bits<T>(length);
}

// The sign is the field's highest bit, or the register's if the field ends beyond it.
template <class T>
T extract_signed(T a, uint32_t position, uint32_t length) {
  position = field_bound<T>(position);
  length = field_bound<T>(length);
  const uint64_t last = uint64_t{position} + length - 1;
  const T sign =
      shift_right<T>(a, last < kBits<T> ? static_cast<uint32_t>(last) : kBits<T> - 1) & 1;
  const T field = shift_right<T>(a, position) & low_bits<T>(length);
  const uint32_t held = position < kBits<T> ? kBits<T> - position : 0;
  const T above = static_cast<T>(~low_bits<T>(length < held ? length : held));
  return length == 0 ? T{0} : static_cast<T>(sign ? field | above : field);
}

template <class T>
T insert(T field, T into, uint32_t position, uint32_t length) {
  position = field_bound<T>(position);
  length = field_bound<T>(length);
  const T mask = shift_left<T>(low_bits<T>(length), position);
  return (into & ~mask) | (shift_left<T>(field, position) & mask);
}

template <bool kClamp>
uint32_t field_mask(uint32_t position, uint32_t length) {
  if (kClamp) return shift_left<uint32_t>(low_bits<uint32_t>(length), position);
  return low_bits<uint32_t>(length & 31) << (position & 31);
}

template <bool kSigned, bool kClamp>
uint32_t extend(uint32_t a, uint32_t bits) {
  const uint32_t count = kClamp ? bits : bits & 31;
  if (count == 0) return 0;
  if (count >= 32) return a;
  const uint32_t unused = 32 - count;
  const uint32_t up = a << unused;
  return kSigned ? static_cast<uint32_t>(static_cast<int32_t>(up) >> unused) : up >> unused;
}

// --- counts ---

template <class T>
uint32_t population(T a) {
  return std::popcount(a);
}

template <class T>
uint32_t leading_zeros(T a) {
  return std::countl_zero(a);
}

// Position of the highest bit that is not a copy of the sign (signed) or is set; all ones if none.
template <class T>
uint32_t highest_bit(T a) {
  using U = std::make_unsigned_t<T>;
  const U bits = static_cast<U>(a < 0 ? ~a : a);
  return bits == 0 ? ~0u : kBits<T> - 1 - std::countl_zero(bits);
}

// .shiftamt: by how much to shift left to bring it to the top.
template <class T>
uint32_t highest_bit_shift(T a) {
  const uint32_t position = highest_bit(a);
  return position == ~0u ? position : kBits<T> - 1 - position;
}

template <class T>
T reversed(T a) {
  T result = 0;
  for (uint32_t i = 0; i < kBits<T>; ++i) result |= (a >> i & 1) << (kBits<T> - 1 - i);
  return result;
}

// Position of the offset-th set bit, counted from `base` up (offset > 0) or down (< 0), `base`
// included; with offset 0, base itself if it is set. All ones if there is none.
uint32_t find_nth_set(uint32_t mask, uint32_t base, int32_t offset) {
  if (offset == 0) return base < 32 && (mask >> base & 1) ? base : ~0u;
  const int step = offset > 0 ? 1 : -1;
  int64_t left = offset > 0 ? int64_t{offset} : -int64_t{offset};
  for (int64_t position = base; position >= 0 && position < 32; position += step) {
    if ((mask >> position & 1) && --left == 0) return static_cast<uint32_t>(position);
  }
  return ~0u;
}

// --- bytes ---

uint32_t byte_of(uint32_t low, uint32_t high, uint32_t index) {
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> (8 * (index & 7))) & 0xff;
}

// Each nibble of the selector chooses one of the 8 bytes; its highest bit asks for the byte's sign.
uint32_t permute(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i);
    const uint32_t byte = byte_of(low, high, nibble);
    const uint32_t sign = byte & 0x80 ? 0xffu : 0u;
    result |= (nibble & 8 ? sign : byte) << (8 * i);
  }
  return result;
}

// The special modes give byte i of the result by a rule from the selector's 2 low bits.
template <uint32_t (*kIndex)(uint32_t selector, uint32_t i)>
uint32_t permute_by(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) result |= byte_of(low, high, kIndex(selector & 3, i)) << (8 * i);
  return result;
}

uint32_t forward_4(uint32_t selector, uint32_t i) { return selector + i; }
uint32_t backward_4(uint32_t selector, uint32_t i) { return selector - i; }
uint32_t replicate_8(uint32_t selector, uint32_t) { return selector; }
uint32_t replicate_16(uint32_t selector, uint32_t i) { return 2 * (selector & 1) + (i & 1); }
uint32_t clamp_left(uint32_t selector, uint32_t i) { return i < selector ? selector : i; }
uint32_t clamp_right(uint32_t selector, uint32_t i) { return i > selector ? selector : i; }

// --- dot products of bytes ---

template <class Packed>
int64_t byte_at(Packed a, int i) {
  const auto byte = static_cast<uint8_t>(static_cast<uint32_t>(a) >> (8 * i));
  return std::is_signed_v<Packed> ? int64_t{static_cast<int8_t>(byte)} : int64_t{byte};
}

template <class A, class B>
uint32_t dot_4(A a, B b, uint32_t sum) {
  int64_t result = sum;
  for (int i = 0; i < 4; ++i) result += byte_at(a, i) * byte_at(b, i);
  return static_cast<uint32_t>(result);
}

// Two 16-bit numbers by the low or high two bytes.
template <class A, class B, int kFirst>
uint32_t dot_2(A a, B b, uint32_t sum) {
  int64_t result = sum;
  for (int i = 0; i < 2; ++i) {
    const auto half = static_cast<uint16_t>(static_cast<uint32_t>(a) >> (16 * i));
    const int64_t number =
        std::is_signed_v<A> ? int64_t{static_cast<int16_t>(half)} : int64_t{half};
    result += number * byte_at(b, kFirst + i);
  }
  return static_cast<uint32_t>(result);
}

// --- predicates: d, a, negated, b, negated ---

LaneMask predicate_operand(Warp& warp, const int64_t* operand) {
  return operand[1] ? ~warp.predicate(operand[0]) : warp.predicate(operand[0]);
}

template <LaneMask (*kFunction)(LaneMask, LaneMask)>
Status combine_predicates(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  write_predicate(
      warp, operands[0],
      kFunction(predicate_operand(warp, operands + 1), predicate_operand(warp, operands + 3)));
  return Status::kNext;
}

// d, a, negated
Status move_predicate(Warp& warp, const Instruction& instruction) {
  write_predicate(warp, instruction.operands[0], predicate_operand(warp, instruction.operands + 1));
  return Status::kNext;
}

#define ROOFGATE_BY_WIDTH(name, function)                        \
  ROOFGATE_OPERATION(name ".b16", lanewise<function<uint16_t>>); \
  ROOFGATE_OPERATION(name ".b32", lanewise<function<uint32_t>>); \
  ROOFGATE_OPERATION(name ".b64", lanewise<function<uint64_t>>)

#define ROOFGATE_WIDE(name, type, function, ...)                                 \
  ROOFGATE_OPERATION(name "." type "32", lanewise<function<__VA_ARGS__##32_t>>); \
  ROOFGATE_OPERATION(name "." type "64", lanewise<function<__VA_ARGS__##64_t>>)

ROOFGATE_BY_WIDTH("and", bitwise_and);
ROOFGATE_BY_WIDTH("or", bitwise_or);
ROOFGATE_BY_WIDTH("xor", bitwise_xor);
ROOFGATE_BY_WIDTH("not", complement);
ROOFGATE_BY_WIDTH("cnot", logical_not);
ROOFGATE_BY_WIDTH("shl", shift_left);
ROOFGATE_BY_WIDTH("shr", shift_right);
ROOFGATE_OPERATION("shr.s16", lanewise<shift_right<int16_t>>);
ROOFGATE_OPERATION("shr.s32", lanewise<shift_right<int32_t>>);
ROOFGATE_OPERATION("shr.s64", lanewise<shift_right<int64_t>>);
ROOFGATE_OPERATION("shf.l.clamp.b32", lanewise<funnel_left<true>>);
ROOFGATE_OPERATION("shf.l.wrap.b32", lanewise<funnel_left<false>>);
ROOFGATE_OPERATION("shf.r.clamp.b32", lanewise<funnel_right<true>>);
ROOFGATE_OPERATION("shf.r.wrap.b32", lanewise<funnel_right<false>>);
ROOFGATE_OPERATION("lop3.b32", lookup_3);
ROOFGATE_WIDE("bfe", "u", extract_unsigned, uint);
ROOFGATE_WIDE("bfe", "s", extract_signed, uint);
ROOFGATE_WIDE("bfi", "b", insert, uint);
ROOFGATE_OPERATION("bmsk.clamp.b32", lanewise<field_mask<true>>);
ROOFGATE_OPERATION("bmsk.wrap.b32", lanewise<field_mask<false>>);
ROOFGATE_OPERATION("szext.clamp.u32", lanewise<extend<false, true>>);
ROOFGATE_OPERATION("szext.clamp.s32", lanewise<extend<true, true>>);
ROOFGATE_OPERATION("szext.wrap.u32", lanewise<extend<false, false>>);
ROOFGATE_OPERATION("szext.wrap.s32", lanewise<extend<true, false>>);
ROOFGATE_WIDE("popc", "b", population, uint);
ROOFGATE_WIDE("clz", "b", leading_zeros, uint);
ROOFGATE_WIDE("brev", "b", reversed, uint);
ROOFGATE_WIDE("bfind", "u", highest_bit, uint);
ROOFGATE_WIDE("bfind", "s", highest_bit, int);
ROOFGATE_WIDE("bfind.shiftamt", "u", highest_bit_shift, uint);
ROOFGATE_WIDE("bfind.shiftamt", "s", highest_bit_shift, int);
ROOFGATE_OPERATION("fns.b32", lanewise<find_nth_set>);
ROOFGATE_OPERATION("prmt.b32", lanewise<permute>);
ROOFGATE_OPERATION("prmt.b32.f4e", lanewise<permute_by<forward_4>>);
ROOFGATE_OPERATION("prmt.b32.b4e", lanewise<permute_by<backward_4>>);
ROOFGATE_OPERATION("prmt.b32.rc8", lanewise<permute_by<replicate_8>>);
ROOFGATE_OPERATION("prmt.b32.rc16", lanewise<permute_by<replicate_16>>);
ROOFGATE_OPERATION("prmt.b32.ecl", lanewise<permute_by<clamp_left>>);
ROOFGATE_OPERATION("prmt.b32.ecr", lanewise<permute_by<clamp_right>>);

#define ROOFGATE_DOT(types, A, B)                                 \
  ROOFGATE_OPERATION("dp4a." types, lanewise<dot_4<A, B>>);       \
  ROOFGATE_OPERATION("dp2a.lo." types, lanewise<dot_2<A, B, 0>>); \
  ROOFGATE_OPERATION("dp2a.hi." types, lanewise<dot_2<A, B, 2>>)

ROOFGATE_DOT("u32.u32", uint32_t, uint32_t);
ROOFGATE_DOT("u32.s32", uint32_t, int32_t);
ROOFGATE_DOT("s32.u32", int32_t, uint32_t);
ROOFGATE_DOT("s32.s32", int32_t, int32_t);

ROOFGATE_OPERATION("and.pred", combine_predicates<bitwise_and<LaneMask>>);
ROOFGATE_OPERATION("or.pred", combine_predicates<bitwise_or<LaneMask>>);
ROOFGATE_OPERATION("xor.pred", combine_predicates<bitwise_xor<LaneMask>>);
ROOFGATE_OPERATION("mov.pred", move_predicate);

}  // namespace
}  // namespace roofgate::sim
