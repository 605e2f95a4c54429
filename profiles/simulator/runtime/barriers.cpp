// PTX ISA, "Parallel Synchronization and Communication Instructions: bar,
// barrier". A barrier counts lanes; of a warp that arrives with .aligned at a
// barrier of a stated size, 32. Lanes that have ended no longer belong to the
// whole block.
#include "barriers.h"

#include <cstring>
#include <string>

#include "cluster.h"
#include "findings.h"

namespace roofgate::sim {
namespace {

enum class Reduction { kNone, kPopulation, kAnd, kOr };

// Operands before the barrier's number: the destination of a reduction.
constexpr int destinations(Reduction reduction) { return reduction == Reduction::kNone ? 0 : 1; }

uint32_t same_in_all_lanes(Warp& warp, const Instruction& instruction, int64_t operand) {
  const Lanes<uint32_t>& values = warp.lanes<uint32_t>(operand);
  const uint32_t value = values[first_lane(warp.executing)];
  const LaneMask others = lanes_where(warp.executing, [&](int l) { return values[l] != value; });
  if (others) {
    fail(warp, instruction,
         {Check::kBarrier, "the lanes of one warp name different barriers or sizes", others});
  }
  return value;
}

bool is_complete(const Block& block, const Barrier& barrier) {
  const uint32_t needed = barrier.expected_lanes ? barrier.expected_lanes : block.live_lanes;
  return barrier.in_use && barrier.arrived_lanes >= needed;
}

void write_result(const Block& block, const Barrier& barrier, const BarrierWaiter& waiter) {
  const std::string_view operation = waiter.instruction->operation;
  if (operation.find(".red.") == std::string_view::npos) return;
  const int64_t destination = waiter.instruction->operands[0];
  if (operation.find(".popc") != std::string_view::npos) {
    write_lanes(waiter.warp->lanes<uint32_t>(destination), waiter.lanes,
                [&](int) { return barrier.true_lanes; });
    return;
  }
  const bool is_and = operation.find(".and") != std::string_view::npos;
  const uint32_t all = barrier.expected_lanes ? barrier.expected_lanes : block.live_lanes;
  const bool holds = is_and ? barrier.true_lanes == all : barrier.true_lanes > 0;
  LaneMask& predicate = waiter.warp->predicate(destination);
  predicate = (predicate & ~waiter.lanes) | (holds ? waiter.lanes : 0);
}

void complete(Block& block, uint32_t number) {
  Barrier& barrier = block.barriers[number];
  for (const BarrierWaiter& waiter : barrier.waiters) {
    acquire(*waiter.warp, barrier.point);
    write_result(block, barrier, waiter);
    wake(*waiter.warp, WaitKind::kBarrier, number);
  }
  barrier = Barrier();
}

std::string size_in_words(uint32_t lanes) {
  return lanes ? std::to_string(lanes) + " threads" : "the whole block";
}

// Counts the arrival of the executing lanes and checks that all who use the
// barrier agree.
Barrier& arrive(Warp& warp, const Instruction& instruction, uint32_t number, uint32_t expected,
                bool aligned) {
  if (number >= kBarriers) {
    fail(warp, instruction,
         {Check::kBarrier, "barrier " + std::to_string(number) + ": expected 0 to 15"});
  }
  if (expected % kLanes) {
    fail(warp, instruction,
         {Check::kBarrier, std::to_string(expected) + " threads: expected a multiple of 32"});
  }
  Barrier& barrier = warp.block->barriers[number];
  if (!barrier.in_use) {
    barrier.in_use = true;
    barrier.expected_lanes = expected;
    barrier.first_site = instruction.site;
    barrier.first_warp = warp.index;
  }
  barrier.arrived_lanes += aligned && expected ? kLanes : count_lanes(warp.executing);
  const bool too_many = expected && barrier.arrived_lanes > expected;
  if (barrier.expected_lanes != expected || too_many) {
    Finding finding{Check::kBarrier, "barrier " + std::to_string(number) + " is waited for by " +
                                         size_in_words(expected) + " here"};
    finding.message += too_many ? ", but more than that arrive"
                                : ", but by " + size_in_words(barrier.expected_lanes) +
                                      " at {site " + std::to_string(barrier.first_site) + "}";
    finding.lanes = warp.executing;
    finding.other = Party{barrier.first_site, warp.block->index, barrier.first_warp, -1, "barrier"};
    fail(warp, instruction, std::move(finding));
  }
  release(warp, barrier.point);
  return barrier;
}

// What the operands say, from the barrier's number on.
struct Arrival {
  uint32_t number;
  uint32_t expected;
};

Arrival read_arrival(Warp& warp, const Instruction& instruction, int first) {
  const int64_t* operands = instruction.operands + first;
  return {same_in_all_lanes(warp, instruction, operands[0]),
          operands[1] == -1 ? 0 : same_in_all_lanes(warp, instruction, operands[1])};
}

template <Reduction reduction, bool aligned>
Status barrier_sync(Warp& warp, const Instruction& instruction) {
  if constexpr (aligned) require_convergence(warp, instruction);
  constexpr int first = destinations(reduction);
  const auto [number, expected] = read_arrival(warp, instruction, first);
  Barrier& barrier = arrive(warp, instruction, number, expected, aligned);
  if constexpr (reduction != Reduction::kNone) {
    const LaneMask negated = instruction.operands[first + 3] ? kAllLanes : 0;
    const LaneMask holds = warp.predicate(instruction.operands[first + 2]) ^ negated;
    barrier.true_lanes += count_lanes(holds & warp.executing);
  }
  barrier.waiters.push_back({&warp, warp.executing, &instruction});
  const Status status = wait_for(warp, Status::kWaiting, WaitKind::kBarrier, number);
  if (is_complete(*warp.block, barrier)) complete(*warp.block, number);
  return status;
}

template <bool aligned>
Status barrier_arrive(Warp& warp, const Instruction& instruction) {
  if constexpr (aligned) require_convergence(warp, instruction);
  const auto [number, expected] = read_arrival(warp, instruction, 0);
  Barrier& barrier = arrive(warp, instruction, number, expected, aligned);
  if (is_complete(*warp.block, barrier)) complete(*warp.block, number);
  return Status::kNext;
}

ROOFGATE_OPERATION("barrier.sync", barrier_sync<Reduction::kNone, false>);
ROOFGATE_OPERATION("barrier.sync.aligned", barrier_sync<Reduction::kNone, true>);
ROOFGATE_OPERATION("barrier.arrive", barrier_arrive<false>);
ROOFGATE_OPERATION("barrier.arrive.aligned", barrier_arrive<true>);
ROOFGATE_OPERATION("barrier.red.popc", barrier_sync<Reduction::kPopulation, false>);
ROOFGATE_OPERATION("barrier.red.popc.aligned", barrier_sync<Reduction::kPopulation, true>);
ROOFGATE_OPERATION("barrier.red.and", barrier_sync<Reduction::kAnd, false>);
ROOFGATE_OPERATION("barrier.red.and.aligned", barrier_sync<Reduction::kAnd, true>);
ROOFGATE_OPERATION("barrier.red.or", barrier_sync<Reduction::kOr, false>);
ROOFGATE_OPERATION("barrier.red.or.aligned", barrier_sync<Reduction::kOr, true>);

}  // namespace

void on_exits(Block& block) {
  for (uint32_t number = 0; number < kBarriers; ++number) {
    const Barrier& barrier = block.barriers[number];
    if (barrier.expected_lanes == 0 && is_complete(block, barrier)) complete(block, number);
  }
  complete_cluster_phase(*block.cluster);
}

}  // namespace roofgate::sim
