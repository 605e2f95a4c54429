// mma.sync as an operation, for one shape and one set of types.
//
// Operands: the registers of D, A, B and C, in this order, in the order of PTX.
#pragma once

#include "full_warp.h"
#include "mma.h"

namespace roofgate::sim::mma {

// --- what D and C are: `start` gives the sums that products are added to, `finish` the words of D
// ---

struct Float32Output {
  template <int kUsed>
  static void start(const Lanes<uint32_t>* const* c, Lanes<float>* sums) {
    for (int i = 0; i < kUsed; ++i) {
      for (int l = 0; l < kLanes; ++l) sums[i][l] = from_bits<float>((*c[i])[l]);
    }
  }

  template <int kUsed>
  static void finish(const Lanes<float>* sums, const Lanes<uint32_t>* const*, Lanes<uint32_t>* d) {
    for (int i = 0; i < kUsed; ++i) {
      for (int l = 0; l < kLanes; ++l) d[i][l] = to_bits(canonical(sums[i][l]));
    }
  }

  static constexpr int words(int used) { return used; }
};

// Two columns to a register. Sums are f32 and rounded once at the end.
struct Float16Output {
  template <int kUsed>
  static void start(const Lanes<uint32_t>* const* c, Lanes<float>* sums) {
    for (int i = 0; i < kUsed; i += 2) unpack<SmallElement<Float16>>(*c[i / 2], &sums[i]);
  }

  template <int kUsed>
  static void finish(const Lanes<float>* sums, const Lanes<uint32_t>* const*, Lanes<uint32_t>* d) {
    for (int i = 0; i < kUsed; i += 2) {
      for (int l = 0; l < kLanes; ++l) {
        d[i / 2][l] = encode<Float16>(sums[i][l]) | encode<Float16>(sums[i + 1][l]) << 16;
      }
    }
  }

  static constexpr int words(int used) { return used / 2; }
};

inline uint32_t wrapped(int32_t product, uint32_t c) { return static_cast<uint32_t>(product) + c; }

// .satfinite: the sum is clamped to the range of s32.
inline uint32_t clamped(int32_t product, uint32_t c) {
  const int64_t sum = int64_t{product} + static_cast<int32_t>(c);
  const int64_t above = sum < INT32_MIN ? INT32_MIN : sum;
  return static_cast<uint32_t>(above > INT32_MAX ? INT32_MAX : above);
}

template <uint32_t (*kAdd)(int32_t, uint32_t)>
struct IntegerOutput {
  template <int kUsed>
  static void start(const Lanes<uint32_t>* const*, Lanes<float>* sums) {
    for (int i = 0; i < kUsed; ++i) sums[i] = {};
  }

  template <int kUsed>
  static void finish(const Lanes<float>* sums, const Lanes<uint32_t>* const* c,
                     Lanes<uint32_t>* d) {
    for (int i = 0; i < kUsed; ++i) {
      for (int l = 0; l < kLanes; ++l) {
        d[i][l] = kAdd(static_cast<int32_t>(sums[i][l]), (*c[i])[l]);
      }
    }
  }

  static constexpr int words(int used) { return used; }
};

// Rows are 8 * kRowHalves; K is 4 * kPerWord * kBlocks.
template <int kRowHalves, int kBlocks, class A, class B, class Output>
struct Mma {
  static_assert(A::kPerWord == B::kPerWord);
  static constexpr int kUsed = 2 * kRowHalves;
  static constexpr int kWords = Output::words(kUsed);

  static Status handle(Warp& warp, const Instruction& instruction) {
    require_full_warp(warp, instruction);
    const int64_t* operand = instruction.operands + kWords;
    Product<kRowHalves, kBlocks, A::kPerWord> product;
    for (int block = 0; block < kBlocks; ++block) {
      for (int half = 0; half < kRowHalves; ++half) {
        unpack<A>(warp.lanes<uint32_t>(*operand++), product.a[block][half]);
      }
    }
    for (int block = 0; block < kBlocks; ++block) {
      unpack<B>(by_thread(warp.lanes<uint32_t>(*operand++)), product.b[block]);
    }
    const Lanes<uint32_t>* c[kWords];
    for (auto& word : c) word = &warp.lanes<uint32_t>(*operand++);
    Output::template start<kUsed>(c, product.sums);
    product.accumulate();
    // D may be C in another order.
    Lanes<uint32_t> d[kWords];
    Output::template finish<kUsed>(product.sums, c, d);
    for (int i = 0; i < kWords; ++i) warp.lanes<uint32_t>(instruction.operands[i]) = d[i];
    return Status::kNext;
  }
};

template <class A, class B, class Output>
constexpr Handler kM16OneBlock = &Mma<2, 1, A, B, Output>::handle;
template <class A, class B, class Output>
constexpr Handler kM16TwoBlocks = &Mma<2, 2, A, B, Output>::handle;
template <class A, class B, class Output>
constexpr Handler kM8OneBlock = &Mma<1, 1, A, B, Output>::handle;

}  // namespace roofgate::sim::mma
