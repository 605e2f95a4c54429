// The inner loops of the ceilings, written once for all instruction sets.
//
// Multiply-adds: Simd::kChains sums that do not depend on each other, so that the latency of one
// hides behind the others (6 cycles at two a cycle need 12). Operands stay in registers: nothing
// but the instruction rate bounds the loop. Copy: plain loads and streaming stores, which spare the
// destination's cache lines the read before they are overwritten: the traffic is then 2 * bytes, as
// roofgate_ceiling_copy_params says.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ceilings_cpu.h"
#include "cpu_compiler.h"

namespace roofgate {
namespace {

constexpr int kRounds = 4;  // of all chains, per iteration

template <class Simd>
float multiply_add_chains(int64_t iterations) {
  // Small factors keep the sums finite; that the compiler cannot see them keeps it from folding.
  typename Simd::Operand a = Simd::operand(0.5f);
  typename Simd::Operand b = Simd::operand(0.25f);
  typename Simd::Vector sums[Simd::kChains];
  for (int i = 0; i < Simd::kChains; ++i) sums[i] = Simd::zero();
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    ROOFGATE_UNROLL
    for (int round = 0; round < kRounds; ++round) {
      ROOFGATE_UNROLL
      for (int i = 0; i < Simd::kChains; ++i) sums[i] = Simd::multiply_add(sums[i], a, b);
    }
    Simd::keep(a, b);
  }
  typename Simd::Vector total = sums[0];
  for (int i = 1; i < Simd::kChains; ++i) total = Simd::add(total, sums[i]);
  return Simd::first(total);
}

template <class Simd>
void copy_lines(void* dst, const void* src, size_t bytes) {
  constexpr size_t kLine = 64;
  char* const to = static_cast<char*>(dst);
  const char* const from = static_cast<const char*>(src);
  for (size_t i = 0; i < bytes; i += kLine) Simd::stream_line(to + i, from + i);
  Simd::fence();
}

}  // namespace
}  // namespace roofgate
