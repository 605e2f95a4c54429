// setp, set, selp, slct, testp: comparisons of registers, and choices between them.
//
// Comparisons are named as PTX does: of integers eq ne lt le gt ge, of floats also their unordered
// forms (true if a NaN takes part) equ neu ltu leu gtu geu, and num and nan.
#include "lanewise.h"
#include "numerics.h"
#include "program.h"

namespace roofgate::sim {
namespace {

template <class T>
bool equal(T a, T b) {
  return a == b;
}
template <class T>
bool different(T a, T b) {
  return a != b;
}
template <class T>
bool less(T a, T b) {
  return a < b;
}
template <class T>
bool less_or_equal(T a, T b) {
  return a <= b;
}
template <class T>
bool greater(T a, T b) {
  return a > b;
}
template <class T>
bool greater_or_equal(T a, T b) {
  return a >= b;
}
template <class T>
bool ordered(T a, T b) {
  return a == a && b == b;
}
template <class T>
bool unordered(T a, T b) {
  return !(a == a && b == b);
}
// != is also true for NaN, which PTX's ne is not.
template <class T>
bool different_ordered(T a, T b) {
  return a < b || a > b;
}
template <class T>
bool equal_unordered(T a, T b) {
  return !(a < b || a > b);
}
template <class T>
bool less_unordered(T a, T b) {
  return !(a >= b);
}
template <class T>
bool less_or_equal_unordered(T a, T b) {
  return !(a > b);
}
template <class T>
bool greater_unordered(T a, T b) {
  return !(a <= b);
}
template <class T>
bool greater_or_equal_unordered(T a, T b) {
  return !(a < b);
}

template <auto kCompare>
bool flushed(float a, float b) {
  return kCompare(flush(a), flush(b));
}

// Of a small format in the low bits.
template <class Format, auto kCompare>
bool decoded(uint16_t a, uint16_t b) {
  return kCompare(decode<Format>(a), decode<Format>(b));
}

// .ftz of f16: the subnormals become zero.
uint32_t flush_f16(uint32_t bits) { return (bits & 0x7c00) == 0 ? bits & 0x8000 : bits; }

template <auto kCompare>
bool decoded_flushed(uint16_t a, uint16_t b) {
  return kCompare(decode<Float16>(flush_f16(a)), decode<Float16>(flush_f16(b)));
}

// The lanes where the comparison holds, of all 32.
template <auto kCompare, class T>
LaneMask compare(const Lanes<T>& a, const Lanes<T>& b) {
  return lanes_where(kAllLanes, [&](int l) { return kCompare(a[l], b[l]); });
}

template <auto kCompare, class Signature = decltype(kCompare)>
struct Comparison;

// What setp and set do with the predicate operand: the numbers that lowering gives.
enum Combine { kNone, kAnd, kOr, kXor };

LaneMask combine(LaneMask result, int64_t how, LaneMask with) {
  switch (how) {
    case kAnd:
      return result & with;
    case kOr:
      return result | with;
    case kXor:
      return result ^ with;
    default:
      return result;
  }
}

// Operands from `tail` on: predicate, whether it is negated, Combine.
LaneMask third_operand(Warp& warp, const int64_t* tail) {
  return tail[1] ? ~warp.predicate(tail[0]) : warp.predicate(tail[0]);
}

template <auto kCompare, class T>
struct Comparison<kCompare, bool (*)(T, T)> {
  static LaneMask holds(Warp& warp, const int64_t* sources) {
    return compare<kCompare>(warp.lanes<T>(sources[0]), warp.lanes<T>(sources[1]));
  }

  // p, a, b
  static Status predicate(Warp& warp, const Instruction& instruction) {
    write_predicate(warp, instruction.operands[0], holds(warp, instruction.operands + 1));
    return Status::kNext;
  }

  // p, q, a, b, c, negated, Combine: p = holds op c, q = !holds op c
  static Status predicates(Warp& warp, const Instruction& instruction) {
    const int64_t* operands = instruction.operands;
    const LaneMask result = holds(warp, operands + 2);
    const LaneMask other = third_operand(warp, operands + 4);
    write_predicate(warp, operands[0], combine(result, operands[6], other));
    write_predicate(warp, operands[1], combine(~result, operands[6], other));
    return Status::kNext;
  }

  // d, a, b, c, negated, Combine, the bits that stand for true
  template <class Result>
  static Status value(Warp& warp, const Instruction& instruction) {
    const int64_t* operands = instruction.operands;
    const LaneMask result =
        combine(holds(warp, operands + 1), operands[5], third_operand(warp, operands + 3));
    const auto truth = static_cast<Result>(operands[6]);
    write_lanes(warp.lanes<Result>(operands[0]), warp.executing,
                [&](int l) { return has_lane(result, l) ? truth : Result{0}; });
    return Status::kNext;
  }
};

#define ROOFGATE_COMPARISON(name, ...)                                             \
  ROOFGATE_OPERATION("setp." name, &Comparison<__VA_ARGS__>::predicate);           \
  ROOFGATE_OPERATION("setp.combined." name, &Comparison<__VA_ARGS__>::predicates); \
  ROOFGATE_OPERATION("set.b32." name, &Comparison<__VA_ARGS__>::value<uint32_t>);  \
  ROOFGATE_OPERATION("set.b16." name, &Comparison<__VA_ARGS__>::value<uint16_t>)

#define ROOFGATE_COMPARISONS_BY_WIDTH(type, T) \
  ROOFGATE_COMPARISON("eq." type, equal<T>);   \
  ROOFGATE_COMPARISON("ne." type, different<T>)

#define ROOFGATE_COMPARISONS_BY_SIGN(type, T)        \
  ROOFGATE_COMPARISON("lt." type, less<T>);          \
  ROOFGATE_COMPARISON("le." type, less_or_equal<T>); \
  ROOFGATE_COMPARISON("gt." type, greater<T>);       \
  ROOFGATE_COMPARISON("ge." type, greater_or_equal<T>)

// BEGIN and END make the comparison that is registered from the one of T.
#define ROOFGATE_FLOAT_COMPARISONS(type, T, BEGIN, END)                      \
  ROOFGATE_COMPARISON("eq." type, BEGIN equal<T> END);                       \
  ROOFGATE_COMPARISON("ne." type, BEGIN different_ordered<T> END);           \
  ROOFGATE_COMPARISON("lt." type, BEGIN less<T> END);                        \
  ROOFGATE_COMPARISON("le." type, BEGIN less_or_equal<T> END);               \
  ROOFGATE_COMPARISON("gt." type, BEGIN greater<T> END);                     \
  ROOFGATE_COMPARISON("ge." type, BEGIN greater_or_equal<T> END);            \
  ROOFGATE_COMPARISON("equ." type, BEGIN equal_unordered<T> END);            \
  ROOFGATE_COMPARISON("neu." type, BEGIN different<T> END);                  \
  ROOFGATE_COMPARISON("ltu." type, BEGIN less_unordered<T> END);             \
  ROOFGATE_COMPARISON("leu." type, BEGIN less_or_equal_unordered<T> END);    \
  ROOFGATE_COMPARISON("gtu." type, BEGIN greater_unordered<T> END);          \
  ROOFGATE_COMPARISON("geu." type, BEGIN greater_or_equal_unordered<T> END); \
  ROOFGATE_COMPARISON("num." type, BEGIN ordered<T> END);                    \
  ROOFGATE_COMPARISON("nan." type, BEGIN unordered<T> END)

ROOFGATE_COMPARISONS_BY_WIDTH("b16", uint16_t);
ROOFGATE_COMPARISONS_BY_WIDTH("b32", uint32_t);
ROOFGATE_COMPARISONS_BY_WIDTH("b64", uint64_t);
ROOFGATE_COMPARISONS_BY_SIGN("u16", uint16_t);
ROOFGATE_COMPARISONS_BY_SIGN("u32", uint32_t);
ROOFGATE_COMPARISONS_BY_SIGN("u64", uint64_t);
ROOFGATE_COMPARISONS_BY_SIGN("s16", int16_t);
ROOFGATE_COMPARISONS_BY_SIGN("s32", int32_t);
ROOFGATE_COMPARISONS_BY_SIGN("s64", int64_t);
ROOFGATE_FLOAT_COMPARISONS("f32", float, , );
ROOFGATE_FLOAT_COMPARISONS("ftz.f32", float, flushed<, >);
ROOFGATE_FLOAT_COMPARISONS("f64", double, , );
#define ROOFGATE_COMMA ,
ROOFGATE_FLOAT_COMPARISONS("f16", float, decoded<Float16 ROOFGATE_COMMA, >);
ROOFGATE_FLOAT_COMPARISONS("ftz.f16", float, decoded_flushed<, >);
ROOFGATE_FLOAT_COMPARISONS("bf16", float, decoded<BFloat16 ROOFGATE_COMMA, >);
#undef ROOFGATE_COMMA

// d, a, b, p, negated: a where p holds.
template <class T>
Status select(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const LaneMask chosen = operands[4] ? ~warp.predicate(operands[3]) : warp.predicate(operands[3]);
  const Lanes<T>& a = warp.lanes<T>(operands[1]);
  const Lanes<T>& b = warp.lanes<T>(operands[2]);
  Lanes<T> result = b;
  blend_lanes(result, a, chosen);
  write_lanes(warp.lanes<T>(operands[0]), warp.executing, [&](int l) { return result[l]; });
  return Status::kNext;
}

ROOFGATE_OPERATION("selp.b16", select<uint16_t>);
ROOFGATE_OPERATION("selp.b32", select<uint32_t>);
ROOFGATE_OPERATION("selp.b64", select<uint64_t>);

// a if c >= 0, else b; not for NaN. Adding a float's -0 is the same as 0.
template <class T, class Sign>
T choose_by_sign(T a, T b, Sign c) {
  return c >= 0 ? a : b;
}

template <class T>
T choose_by_flushed_sign(T a, T b, float c) {
  return flush(c) >= 0 ? a : b;
}

#define ROOFGATE_CHOICE(type, T)                                                 \
  ROOFGATE_OPERATION("slct." type ".s32", lanewise<choose_by_sign<T, int32_t>>); \
  ROOFGATE_OPERATION("slct." type ".f32", lanewise<choose_by_sign<T, float>>);   \
  ROOFGATE_OPERATION("slct.ftz." type ".f32", lanewise<choose_by_flushed_sign<T>>)

ROOFGATE_CHOICE("b16", uint16_t);
ROOFGATE_CHOICE("b32", uint32_t);
ROOFGATE_CHOICE("b64", uint64_t);

template <class T>
struct Class {
  static bool finite(T a) { return std::fabs(a) <= std::numeric_limits<T>::max(); }
  static bool infinite(T a) { return std::fabs(a) > std::numeric_limits<T>::max(); }
  static bool number(T a) { return a == a; }
  static bool notanumber(T a) { return a != a; }
  // Zeros count as normal numbers.
  static bool normal(T a) { return finite(a) && !subnormal(a); }
  static bool subnormal(T a) { return std::fabs(a) < std::numeric_limits<T>::min() && a != 0; }
};

template <class T, bool (*kTest)(T)>
Status test(Warp& warp, const Instruction& instruction) {
  const Lanes<T>& a = warp.lanes<T>(instruction.operands[1]);
  write_predicate(warp, instruction.operands[0],
                  lanes_where(kAllLanes, [&](int l) { return kTest(a[l]); }));
  return Status::kNext;
}

#define ROOFGATE_TEST(name)                                                   \
  ROOFGATE_OPERATION("testp." #name ".f32", test<float, Class<float>::name>); \
  ROOFGATE_OPERATION("testp." #name ".f64", test<double, Class<double>::name>)

ROOFGATE_TEST(finite);
ROOFGATE_TEST(infinite);
ROOFGATE_TEST(number);
ROOFGATE_TEST(notanumber);
ROOFGATE_TEST(normal);
ROOFGATE_TEST(subnormal);

}  // namespace
}  // namespace roofgate::sim
