// PTX ISA, cp.reduce.async.bulk: which operations exist for which types, and their meaning.
#include "bulk_reduce.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "findings.h"
#include "numerics.h"

namespace roofgate::sim {
namespace {

// Bits of an element, and what they mean.
template <class T>
struct Plain {
  using Bits = T;
  using Value = T;
  static Value value(Bits bits) { return bits; }
  static Bits bits(Value value) { return value; }
};

template <class Format>
struct Small {
  using Bits = uint16_t;
  using Value = float;
  static Value value(Bits bits) { return decode<Format>(bits); }
  static Bits bits(Value value) { return static_cast<Bits>(encode<Format>(value)); }
};

// In global memory, additions of f32 flush subnormal operands and results.
struct FlushedFloat : Plain<float> {
  static float value(float bits) { return flush(bits); }
  static float bits(float value) { return canonical(flush(value)); }
};

struct Add {
  template <class T>
  static T apply(T a, T b) {
    return a + b;
  }
};
struct Min {
  template <class T>
  static T apply(T a, T b) {
    if (a != a) return b;
    return b < a ? b : a;
  }
};
struct Max {
  template <class T>
  static T apply(T a, T b) {
    if (a != a) return b;
    return a < b ? b : a;
  }
};
struct Increment {
  static uint32_t apply(uint32_t a, uint32_t b) { return a >= b ? 0 : a + 1; }
};
struct Decrement {
  static uint32_t apply(uint32_t a, uint32_t b) { return a == 0 || a > b ? b : a - 1; }
};
struct And {
  template <class T>
  static T apply(T a, T b) {
    return a & b;
  }
};
struct Or {
  template <class T>
  static T apply(T a, T b) {
    return a | b;
  }
};
struct Xor {
  template <class T>
  static T apply(T a, T b) {
    return a ^ b;
  }
};

// Blocks that other threads run reduce into the same memory.
template <class Element, class Operation>
void reduce(std::byte* to, const std::byte* from, uint32_t bytes) {
  using Bits = typename Element::Bits;
  for (uint32_t i = 0; i < bytes; i += sizeof(Bits)) {
    Bits operand;
    std::memcpy(&operand, from + i, sizeof operand);
    std::atomic_ref<Bits> place(*reinterpret_cast<Bits*>(to + i));
    Bits old = place.load();
    const auto result = [&] {
      return Element::bits(Operation::apply(Element::value(old), Element::value(operand)));
    };
    while (!place.compare_exchange_weak(old, result())) {
    }
  }
}

template <class Operation>
Reducer find_integer(ReducedType type) {
  switch (type) {
    case ReducedType::kU32:
      return reduce<Plain<uint32_t>, Operation>;
    case ReducedType::kS32:
      return reduce<Plain<int32_t>, Operation>;
    case ReducedType::kU64:
      return reduce<Plain<uint64_t>, Operation>;
    case ReducedType::kS64:
      return reduce<Plain<int64_t>, Operation>;
    default:
      return nullptr;
  }
}

template <class Operation>
Reducer find_number(ReducedType type) {
  if (type == ReducedType::kF16) return reduce<Small<Float16>, Operation>;
  if (type == ReducedType::kBF16) return reduce<Small<BFloat16>, Operation>;
  return find_integer<Operation>(type);
}

Reducer find_sum(ReducedType type) {
  switch (type) {
    case ReducedType::kS32:  // no signed overflow in C++: the bits are the same
      return reduce<Plain<uint32_t>, Add>;
    case ReducedType::kS64:
      return reduce<Plain<uint64_t>, Add>;
    case ReducedType::kF32:
      return reduce<FlushedFloat, Add>;
    case ReducedType::kF64:
      return reduce<Plain<double>, Add>;
    default:
      return find_number<Add>(type);
  }
}

Reducer find(Reduction reduction, ReducedType type) {
  switch (reduction) {
    case Reduction::kAdd:
      return find_sum(type);
    case Reduction::kMin:
      return find_number<Min>(type);
    case Reduction::kMax:
      return find_number<Max>(type);
    case Reduction::kIncrement:
      return type == ReducedType::kU32 ? reduce<Plain<uint32_t>, Increment> : nullptr;
    case Reduction::kDecrement:
      return type == ReducedType::kU32 ? reduce<Plain<uint32_t>, Decrement> : nullptr;
    case Reduction::kAnd:
      return find_integer<And>(type);
    case Reduction::kOr:
      return find_integer<Or>(type);
    case Reduction::kXor:
      return find_integer<Xor>(type);
  }
  return nullptr;
}

}  // namespace

Reducer find_reducer(Warp& warp, const Instruction& instruction, Reduction reduction,
                     ReducedType type) {
  const Reducer reducer = find(reduction, type);
  if (!reducer) {
    fail(warp, instruction,
         {Check::kTensorCopy, "there is no such reduction for elements of this type"});
  }
  return reducer;
}

}  // namespace roofgate::sim
