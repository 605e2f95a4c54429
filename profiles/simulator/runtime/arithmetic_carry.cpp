// add.cc addc sub.cc subc mad.cc madc: sums with a carry in and out.
//
// Operands: destination, sources, the predicate that is the carry (or borrow) in, the one that
// receives the carry out.
#include "lanewise.h"
#include "program.h"

namespace roofgate::sim {
namespace {

template <class T>
struct Sum {
  T value;
  bool carry;
};

template <class T>
Sum<T> add(T a, T b, bool carry) {
  T partial, total;
  const bool first = __builtin_add_overflow(a, b, &partial);
  const bool second = __builtin_add_overflow(partial, T{carry}, &total);
  return {total, first || second};
}

template <class T>
Sum<T> subtract(T a, T b, bool borrow) {
  T partial, total;
  const bool first = __builtin_sub_overflow(a, b, &partial);
  const bool second = __builtin_sub_overflow(partial, T{borrow}, &total);
  return {total, first || second};
}

template <class T>
T low_product(T a, T b) {
  return a * b;
}

template <class T, class Number, class Product>
T high_product(T a, T b) {
  const Product product = Product{static_cast<Number>(a)} * static_cast<Number>(b);
  return static_cast<T>(product >> (8 * sizeof(T)));
}

// Computes the lanes, and sends the carries where the operands from `tail` on say.
template <class T, class Compute>
void write_sums(Warp& warp, int64_t destination, const int64_t* tail, Compute compute) {
  const LaneMask carry_in = warp.predicate(tail[0]);
  LaneMask carry_out = 0;
  Lanes<T> result;
  for (int l = 0; l < kLanes; ++l) {
    const Sum<T> sum = compute(l, has_lane(carry_in, l));
    result[l] = sum.value;
    carry_out |= static_cast<LaneMask>(sum.carry) << l;
  }
  write_lanes(warp.lanes<T>(destination), warp.executing, [&](int l) { return result[l]; });
  write_predicate(warp, tail[1], carry_out);
}

template <class T, Sum<T> (*kFunction)(T, T, bool)>
Status sum(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const Lanes<T>& a = warp.lanes<T>(operands[1]);
  const Lanes<T>& b = warp.lanes<T>(operands[2]);
  write_sums<T>(warp, operands[0], operands + 3,
                [&](int l, bool carry) { return kFunction(a[l], b[l], carry); });
  return Status::kNext;
}

template <class T, T (*kProduct)(T, T)>
Status multiply_add(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const Lanes<T>& a = warp.lanes<T>(operands[1]);
  const Lanes<T>& b = warp.lanes<T>(operands[2]);
  const Lanes<T>& c = warp.lanes<T>(operands[3]);
  write_sums<T>(warp, operands[0], operands + 4,
                [&](int l, bool carry) { return add<T>(kProduct(a[l], b[l]), c[l], carry); });
  return Status::kNext;
}

ROOFGATE_OPERATION("addc.b32", sum<uint32_t, add<uint32_t>>);
ROOFGATE_OPERATION("addc.b64", sum<uint64_t, add<uint64_t>>);
ROOFGATE_OPERATION("subc.b32", sum<uint32_t, subtract<uint32_t>>);
ROOFGATE_OPERATION("subc.b64", sum<uint64_t, subtract<uint64_t>>);
ROOFGATE_OPERATION("madc.lo.b32", multiply_add<uint32_t, low_product<uint32_t>>);
ROOFGATE_OPERATION("madc.lo.b64", multiply_add<uint64_t, low_product<uint64_t>>);
ROOFGATE_OPERATION("madc.hi.u32",
                   multiply_add<uint32_t, high_product<uint32_t, uint32_t, uint64_t>>);
ROOFGATE_OPERATION("madc.hi.s32", multiply_add<uint32_t, high_product<uint32_t, int32_t, int64_t>>);
ROOFGATE_OPERATION("madc.hi.u64",
                   multiply_add<uint64_t, high_product<uint64_t, uint64_t, unsigned __int128>>);
ROOFGATE_OPERATION("madc.hi.s64",
                   multiply_add<uint64_t, high_product<uint64_t, int64_t, __int128>>);

}  // namespace
}  // namespace roofgate::sim
