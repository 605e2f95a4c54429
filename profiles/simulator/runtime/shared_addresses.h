// The shared addresses of a warp, from the operands that shared_operand.h describes.
#pragma once

#include "shared_operand.h"

namespace roofgate::sim {

// Of `lanes`; those of other lanes mean nothing.
inline Lanes<uint32_t> shared_addresses(Warp& warp, const Instruction& instruction, int first,
                                        LaneMask lanes) {
  Lanes<uint32_t> addresses = {};
  const int64_t* operand = instruction.operands + first;
  if (static_cast<SharedForm>(operand[1]) == SharedForm::k32) {
    const Lanes<uint32_t>& base = warp.lanes<uint32_t>(operand[0]);
    const auto offset = static_cast<uint32_t>(operand[2]);
    for (int l = 0; l < kLanes; ++l) addresses[l] = base[l] + offset;
    return addresses;
  }
  each_lane(lanes, [&](int l) { addresses[l] = shared_operand(warp, instruction, first, l); });
  return addresses;
}

}  // namespace roofgate::sim
