// Who touches the registers of products that are under way.
//
// PTX leaves undefined what an instruction reads from an accumulator before wgmma.wait_group, or
// writes to an operand, and what a product does with a register that was modified without a
// wgmma.fence after it. lowering/wgmma_watch.py finds the instructions that could do so: those that
// name a register of a product, or a copy of one. Only these run through run_watched.
//
// Copies (mov) are not accesses: compilers place them where PTX's virtual registers of an asm
// statement meet, also between a product and its wait, and ptxas removes them. The copy is watched
// in its place.
#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace roofgate::sim {

enum class WatchKind { kProduct, kCopy, kAccess };

// Registers have numbers of their own: slots may be used again while a product is under way.
struct Watch {
  WatchKind kind;
  std::vector<uint32_t> reads;   // of a product: A
  std::vector<uint32_t> writes;  // of a product: D
  Handler handler;               // the instruction's own
};

// The handler of watched instructions.
Status run_watched(Warp& warp, const Instruction& instruction);

}  // namespace roofgate::sim
