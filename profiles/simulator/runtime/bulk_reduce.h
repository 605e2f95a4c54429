// Element-wise reductions of bulk and tensor copies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "warp.h"

namespace roofgate::sim {

// The numbers are those of profiles/simulator/lowering/async_copies.py.
enum class Reduction : int64_t { kAdd, kMin, kMax, kIncrement, kDecrement, kAnd, kOr, kXor };
enum class ReducedType : int64_t { kU32, kS32, kU64, kS64, kF16, kBF16, kF32, kF64 };

// to[i] = to[i] op from[i] for the elements of so many bytes, each atomic by itself.
using Reducer = void (*)(std::byte* to, const std::byte* from, uint32_t bytes);

// Ends the launch with a finding if PTX has no such reduction.
Reducer find_reducer(Warp& warp, const Instruction& instruction, Reduction reduction,
                     ReducedType type);

}  // namespace roofgate::sim
