// Instructions that compute with addresses. PTX ISA: cvta, isspacep, mapa, getctarank,
// createpolicy.
#include "lanewise.h"
#include "memory.h"

namespace roofgate::sim {
namespace {

// To the generic address space or from it: operand 2 is the distance of the space's window.
Status convert_address(Warp& warp, const Instruction& instruction) {
  const Lanes<uint64_t>& source = warp.lanes<uint64_t>(instruction.operands[1]);
  const auto distance = static_cast<uint64_t>(instruction.operands[2]);
  write_lanes(warp.lanes<uint64_t>(instruction.operands[0]), warp.executing,
              [&](int l) { return source[l] + distance; });
  return Status::kNext;
}

constexpr uint64_t kWindowMask = ~uint64_t{0} << 56;

// Whether an address lies in the window that operand 2 is the start of.
Status is_in_space(Warp& warp, const Instruction& instruction) {
  const Lanes<uint64_t>& source = warp.lanes<uint64_t>(instruction.operands[1]);
  const auto window = static_cast<uint64_t>(instruction.operands[2]);
  write_predicate(warp, instruction.operands[0], lanes_where(kAllLanes, [&](int l) {
                    return (source[l] & kWindowMask) == window;
                  }));
  return Status::kNext;
}

uint32_t rank_of(const Warp& warp, uint64_t address) {
  const auto rank = static_cast<uint32_t>(address) >> kClusterRankShift;
  return rank ? rank - 1 : warp.block->rank;
}

Status is_own_shared(Warp& warp, const Instruction& instruction) {
  const Lanes<uint64_t>& source = warp.lanes<uint64_t>(instruction.operands[1]);
  write_predicate(warp, instruction.operands[0], lanes_where(kAllLanes, [&](int l) {
                    return (source[l] & kWindowMask) == kSharedWindow &&
                           rank_of(warp, source[l]) == warp.block->rank;
                  }));
  return Status::kNext;
}

// The same place in the memory of another block of the cluster.
template <class Address>
Address map_to_rank(Address address, uint32_t rank) {
  constexpr Address kRankBits = Address{0xff} << kClusterRankShift;
  return (address & ~kRankBits) | Address{rank + 1} << kClusterRankShift;
}

template <class Address>
Status get_rank(Warp& warp, const Instruction& instruction) {
  const Lanes<Address>& source = warp.lanes<Address>(instruction.operands[1]);
  write_lanes(warp.lanes<uint32_t>(instruction.operands[0]), warp.executing,
              [&](int l) { return rank_of(warp, source[l]); });
  return Status::kNext;
}

// A policy only advises the caches.
Status create_policy(Warp& warp, const Instruction& instruction) {
  write_lanes(warp.lanes<uint64_t>(instruction.operands[0]), warp.executing,
              [](int) { return uint64_t{0}; });
  return Status::kNext;
}

ROOFGATE_OPERATION("cvta", convert_address);
ROOFGATE_OPERATION("isspacep", is_in_space);
ROOFGATE_OPERATION("isspacep.shared::cta", is_own_shared);
ROOFGATE_OPERATION("mapa.u32", lanewise<map_to_rank<uint32_t>>);
ROOFGATE_OPERATION("mapa.u64", lanewise<map_to_rank<uint64_t>>);
ROOFGATE_OPERATION("getctarank.u32", get_rank<uint32_t>);
ROOFGATE_OPERATION("getctarank.u64", get_rank<uint64_t>);
ROOFGATE_OPERATION("createpolicy", create_policy);

}  // namespace
}  // namespace roofgate::sim
