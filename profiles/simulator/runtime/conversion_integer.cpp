// cvt between integers.
//
// A register may be wider than the type: of a source only the type's bits count, a destination is
// filled with the sign or with zeros. "cvt.s64.u32" is of registers as wide as their types;
// "cvt.b64.b16" (bits of the registers) is of any others, and with .sat.
#include <type_traits>

#include "lanewise.h"
#include "program.h"

namespace roofgate::sim {
namespace {

template <class To, class From>
To extend(From value) {
  return static_cast<To>(value);
}

// The low `bits` of the value as a signed or unsigned number.
uint64_t as_type(uint64_t value, int64_t bits, bool is_signed) {
  const int64_t unused = 64 - bits;
  const uint64_t top = value << unused;
  return is_signed ? static_cast<uint64_t>(static_cast<int64_t>(top) >> unused) : top >> unused;
}

// The nearest number that the destination's type holds.
uint64_t clamp(uint64_t value, bool from_signed, int64_t bits, bool to_signed) {
  const uint64_t all = ~uint64_t{0} >> (64 - bits);
  const uint64_t most = to_signed ? all >> 1 : all;
  const bool negative = from_signed && static_cast<int64_t>(value) < 0;
  if (!negative) return value < most ? value : most;
  if (!to_signed) return 0;
  const auto least = -static_cast<int64_t>(most) - 1;
  return static_cast<int64_t>(value) > least ? value : static_cast<uint64_t>(least);
}

// d, a, then bits and sign (1: signed) of the source's type, bits and sign of the destination's,
// .sat
template <class To, class From>
Status general(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const bool from_signed = operands[3], to_signed = operands[5], saturating = operands[6];
  const Lanes<From>& source = warp.lanes<From>(operands[1]);
  write_lanes(warp.lanes<To>(operands[0]), warp.executing, [&](int l) {
    const uint64_t value = as_type(source[l], operands[2], from_signed);
    const uint64_t fitting = saturating ? clamp(value, from_signed, operands[4], to_signed) : value;
    return static_cast<To>(as_type(fitting, operands[4], to_signed));
  });
  return Status::kNext;
}

#define ROOFGATE_FROM(type, From)                                        \
  ROOFGATE_OPERATION("cvt.u16." type, lanewise<extend<uint16_t, From>>); \
  ROOFGATE_OPERATION("cvt.s16." type, lanewise<extend<uint16_t, From>>); \
  ROOFGATE_OPERATION("cvt.u32." type, lanewise<extend<uint32_t, From>>); \
  ROOFGATE_OPERATION("cvt.s32." type, lanewise<extend<uint32_t, From>>); \
  ROOFGATE_OPERATION("cvt.u64." type, lanewise<extend<uint64_t, From>>); \
  ROOFGATE_OPERATION("cvt.s64." type, lanewise<extend<uint64_t, From>>)

ROOFGATE_FROM("u16", uint16_t);
ROOFGATE_FROM("s16", int16_t);
ROOFGATE_FROM("u32", uint32_t);
ROOFGATE_FROM("s32", int32_t);
ROOFGATE_FROM("u64", uint64_t);
ROOFGATE_FROM("s64", int64_t);

#define ROOFGATE_GENERAL(bits, From)                            \
  ROOFGATE_OPERATION("cvt.b16." bits, general<uint16_t, From>); \
  ROOFGATE_OPERATION("cvt.b32." bits, general<uint32_t, From>); \
  ROOFGATE_OPERATION("cvt.b64." bits, general<uint64_t, From>)

ROOFGATE_GENERAL("b16", uint16_t);
ROOFGATE_GENERAL("b32", uint32_t);
ROOFGATE_GENERAL("b64", uint64_t);

}  // namespace
}  // namespace roofgate::sim
