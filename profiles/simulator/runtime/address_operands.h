// The operands with which ld, st and atom begin: an address and how the access takes part in
// ordering. lowering/memory.py writes them.
#pragma once

#include <cstdint>

#include "lanes.h"
#include "warp.h"

namespace roofgate::sim {

struct AddressOperands {
  int64_t base;        // slot
  int64_t base_bytes;  // of a lane in that slot: 4 or 8
  int64_t offset;
  int64_t order;  // bits of memory_order.h

  static constexpr int kCount = 4;

  explicit AddressOperands(const Instruction& instruction)
      : base(instruction.operands[0]),
        base_bytes(instruction.operands[1]),
        offset(instruction.operands[2]),
        order(instruction.operands[3]) {}
};

template <class Address>
Lanes<Address> read_addresses(Warp& warp, const AddressOperands& operands) {
  Lanes<Address> addresses;
  const auto offset = static_cast<Address>(operands.offset);
  if (operands.base_bytes == 8) {
    const Lanes<uint64_t>& base = warp.lanes<uint64_t>(operands.base);
    for (int l = 0; l < kLanes; ++l) addresses[l] = static_cast<Address>(base[l]) + offset;
  } else {
    const Lanes<uint32_t>& base = warp.lanes<uint32_t>(operands.base);
    for (int l = 0; l < kLanes; ++l) addresses[l] = static_cast<Address>(base[l]) + offset;
  }
  return addresses;
}

}  // namespace roofgate::sim
