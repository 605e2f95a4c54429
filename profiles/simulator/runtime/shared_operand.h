// Addresses in shared memory as operands of the instructions for mbarriers and bulk copies.
//
// Three operands: the slot of the register, how it holds the address, and an offset in bytes.
#pragma once

#include <cstdint>
#include <string>

#include "memory.h"

namespace roofgate::sim {

enum class SharedForm : int64_t {
  k32 = 0,       // .shared, 32-bit register
  k64 = 1,       // .shared, 64-bit register
  kGeneric = 2,  // generic address
};

constexpr int kSharedOperands = 3;

inline uint32_t shared_operand(Warp& warp, const Instruction& instruction, int first, int lane) {
  const int64_t* operand = instruction.operands + first;
  const auto offset = static_cast<uint32_t>(operand[2]);
  const auto form = static_cast<SharedForm>(operand[1]);
  if (form == SharedForm::k32) return warp.lanes<uint32_t>(operand[0])[lane] + offset;
  const uint64_t address = warp.lanes<uint64_t>(operand[0])[lane];
  if (form == SharedForm::kGeneric && address >> 32 != kSharedWindow >> 32) {
    fail(warp, instruction,
         {Check::kOutOfBounds,
          "a generic address that is not in shared memory: " + std::to_string(address),
          LaneMask{1} << lane, Space::kNone, address});
  }
  return static_cast<uint32_t>(address) + offset;
}

}  // namespace roofgate::sim
