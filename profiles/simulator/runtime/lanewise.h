// Handlers made of a function of one lane's values.
//
// Operands are the destination, then one register for each argument. Element types of
// the registers are those of the function's signature.
#pragma once

#include <cstddef>
#include <utility>

#include "warp.h"

namespace roofgate::sim {

template <auto kFunction, class Signature = decltype(kFunction)>
struct Lanewise;

template <auto kFunction, class Result, class... Arguments>
struct Lanewise<kFunction, Result (*)(Arguments...)> {
  static Status handle(Warp& warp, const Instruction& instruction) {
    return apply(warp, instruction, std::index_sequence_for<Arguments...>{});
  }

 private:
  template <size_t... kIndex>
  static Status apply(Warp& warp, const Instruction& instruction, std::index_sequence<kIndex...>) {
    compute(warp.executing, warp.lanes<Result>(instruction.operands[0]),
            warp.lanes<Arguments>(instruction.operands[kIndex + 1])...);
    return Status::kNext;
  }

  // Vector instructions need everything in the loop itself.
  [[gnu::flatten]] static void compute(LaneMask mask, Lanes<Result>& destination,
                                       const Lanes<Arguments>&... sources) {
    write_lanes(destination, mask, [&](int l) { return kFunction(sources[l]...); });
  }
};

// ROOFGATE_OPERATION("add.f32", lanewise<add<float>>);
template <auto kFunction>
constexpr Handler lanewise = &Lanewise<kFunction>::handle;

// Writes the lanes of a predicate that execute.
inline void write_predicate(Warp& warp, int64_t operand, LaneMask value) {
  LaneMask& predicate = warp.predicate(operand);
  predicate = (predicate & ~warp.executing) | (value & warp.executing);
}

}  // namespace roofgate::sim
