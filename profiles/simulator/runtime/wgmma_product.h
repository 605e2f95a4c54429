// wgmma.mma_async as an operation, for one set of types.
//
// Rows of A, columns of B and D are distributed over lanes as for mma.sync m16n8: registers 4 j to
// 4 j
// + 3 of D are its fragment for columns 8 j to 8 j + 7 (PTX ISA, "Register Fragments and Shared
// Memory Matrix Layouts"), warp w of the warpgroup has rows 16 w to 16 w + 15. So the arithmetic is
// mma.sync's.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mma_handler.h"
#include "wgmma.h"

namespace roofgate::sim::wgmma {

// Operands in order; then A (a descriptor, or four registers) and the registers of D.
enum Operand { kColumns, kScaleD, kScaleDNegated, kSign, kMajorA, kMajorB, kDescriptorB, kFirstA };
constexpr int kColumnGroup = 8;
constexpr int kBlocks = 2;      // of K
constexpr int kRowHalves = 2;   // of 8 rows
constexpr int kRegistersA = 4;  // of a lane
constexpr int kOutputs = 4;     // of D in a lane for 8 columns

void require_warpgroup(Warp& warp, const Instruction& instruction);
// The value of a register that must be the same in all lanes.
uint64_t uniform_descriptor(Warp& warp, const Instruction& instruction, int operand);
// Whether D is added to; else it is overwritten.
bool adds_to_d(Warp& warp, const Instruction& instruction);

inline WgmmaTile shared_operand(Warp& warp, const Instruction& instruction, int descriptor,
                                int major) {
  return WgmmaTile(warp, instruction, uniform_descriptor(warp, instruction, descriptor),
                   instruction.operands[major] ? WgmmaTile::Major::kMN : WgmmaTile::Major::kK);
}

// --- where A comes from ---

struct SharedA {
  static constexpr int kOperands = 1;

  SharedA(Warp& warp, const Instruction& instruction)
      : tile_(shared_operand(warp, instruction, kFirstA, kMajorA)),
        first_(static_cast<int>(warp.index % kWgmmaWarps) * kRowHalves) {
    tile_.require_inside(warp, instruction, first_, first_ + kRowHalves);
  }

  Lanes<uint32_t> words(int block, int half) const { return tile_.words(first_ + half, block); }

  void add_ranges(std::vector<SharedRange>& ranges) const {
    tile_.add_ranges(first_, first_ + kRowHalves, 1, ranges);
  }

 private:
  WgmmaTile tile_;
  int first_;
};

struct RegisterA {
  static constexpr int kOperands = kRegistersA;

  RegisterA(Warp& warp, const Instruction& instruction) : warp_(warp), instruction_(instruction) {}

  Lanes<uint32_t> words(int block, int half) const {
    return warp_.lanes<uint32_t>(instruction_.operands[kFirstA + kRowHalves * block + half]);
  }

  void add_ranges(std::vector<SharedRange>&) const {}

 private:
  Warp& warp_;
  const Instruction& instruction_;
};

// --- the product ---

template <class A, class B, class Output, class SourceA>
struct Wgmma {
  using Product = mma::Product<kRowHalves, kBlocks, A::kPerWord>;
  static constexpr int kWords = Output::words(kOutputs);  // of D for 8 columns

  static Status handle(Warp& warp, const Instruction& instruction) {
    require_full_warp(warp, instruction);
    require_warpgroup(warp, instruction);
    const int groups = static_cast<int>(instruction.operands[kColumns]) / kColumnGroup;
    const SourceA a(warp, instruction);
    const WgmmaTile b = shared_operand(warp, instruction, kDescriptorB, kMajorB);
    b.require_inside(warp, instruction, 0, groups);
    record(warp, instruction, a, b, groups);
    Product product;
    read_rows(a, instruction.operands[kSign] < 0, product);
    const bool adds = adds_to_d(warp, instruction);
    const int64_t* d = instruction.operands + kFirstA + SourceA::kOperands;
    for (int group = 0; group < groups; ++group, d += kWords) {
      for (int block = 0; block < kBlocks; ++block) {
        mma::unpack<B>(mma::by_thread(b.words(group, block)), product.b[block]);
      }
      multiply(warp, product, d, adds);
    }
    return Status::kNext;
  }

 private:
  // The four warps read all of B, and each records a quarter of it: it is under way until the last
  // of them has waited.
  static void record(Warp& warp, const Instruction& instruction, const SourceA& a,
                     const WgmmaTile& b, int groups) {
    if (!launch_of(warp).options.check_races) return;
    std::vector<SharedRange> ranges;
    a.add_ranges(ranges);
    b.add_ranges(static_cast<int>(warp.index % kWgmmaWarps), groups, kWgmmaWarps, ranges);
    start_product(warp, instruction, std::move(ranges));
  }

  static void read_rows(const SourceA& a, bool negated, Product& product) {
    for (int block = 0; block < kBlocks; ++block) {
      for (int half = 0; half < kRowHalves; ++half) {
        Lanes<float>* elements = product.a[block][half];
        mma::unpack<A>(a.words(block, half), elements);
        if (!negated) continue;
        for (int e = 0; e < A::kPerWord; ++e) {
          for (int l = 0; l < kLanes; ++l) elements[e][l] = -elements[e][l];
        }
      }
    }
  }

  static void multiply(Warp& warp, Product& product, const int64_t* registers, bool adds) {
    static constexpr Lanes<uint32_t> kZero = {};
    Lanes<uint32_t> d[kWords];
    const Lanes<uint32_t>* c[kWords];
    for (int i = 0; i < kWords; ++i) c[i] = adds ? &warp.lanes<uint32_t>(registers[i]) : &kZero;
    Output::template start<kOutputs>(c, product.sums);
    product.accumulate();
    Output::template finish<kOutputs>(product.sums, c, d);
    for (int i = 0; i < kWords; ++i) warp.lanes<uint32_t>(registers[i]) = d[i];
  }
};

// Both forms of one set of types: "wgmma.TYPES.ss" and ".rs".
template <class A, class B, class Output>
struct Operations {
  explicit Operations(const std::string& types)
      : shared(("wgmma." + types + ".ss").c_str(), Wgmma<A, B, Output, SharedA>::handle),
        registers(("wgmma." + types + ".rs").c_str(), Wgmma<A, B, Output, RegisterA>::handle) {}

  Registration shared, registers;
};

}  // namespace roofgate::sim::wgmma
