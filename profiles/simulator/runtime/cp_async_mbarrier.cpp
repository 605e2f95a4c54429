// cp.async.mbarrier.arrive: each lane arrives on an mbarrier once the copies that it started before
// have arrived.
//
// That happens when no warp can go on, or earlier if a seed chooses so. The arrival hands on what
// the warp had seen when it executed the instruction, and the copies; the warp itself has to wait
// for the mbarrier like everybody else.
#include <utility>

#include "mbarrier.h"
#include "memory.h"
#include "shared_operand.h"

namespace roofgate::sim {
namespace {

constexpr uint32_t kObjectBytes = 8;

struct Arrival {
  Warp* warp;
  const Instruction* instruction;
  LaneMask lanes;
  SharedPlace places[kLanes];
  uint32_t last_copy;
  VectorClock seen;  // at its completion
};

void complete(Arrival& arrival) {
  Warp& warp = *arrival.warp;
  land_copies(warp, arrival.lanes, arrival.last_copy);
  // For the time of the arrival the warp knows what it hands on, no more.
  std::swap(warp.clock, arrival.seen);
  each_lane(arrival.lanes, [&](int lane) {
    arrive(warp, *arrival.instruction, lane,
           find_mbarrier(warp, *arrival.instruction, lane, arrival.places[lane]), 1);
  });
  std::swap(warp.clock, arrival.seen);
}

void remember_clock(Warp& warp, Arrival& arrival) {
  if (!launch_of(warp).options.check_races) return;
  arrival.seen = warp.clock;
  if (warp.copies.agent) arrival.seen.set(*warp.copies.agent, arrival.last_copy);
  advance_time(warp);
}

// The count of arrivals stays what it is: the lane's own arrival was not planned for.
void plan_arrival(Warp& warp, const Instruction& instruction, int lane,
                  const MbarrierPlace& barrier) {
  expect_arrivals(warp, instruction, lane, barrier, 1);
}

// .noinc: mbarrier.init has counted it.
void count_on_arrival(Warp&, const Instruction&, int, const MbarrierPlace&) {}

// Operand: the shared address.
template <auto kPrepare>
Status arrive_after_copies(Warp& warp, const Instruction& instruction) {
  Arrival arrival{&warp, &instruction, warp.executing, {}, warp.copies.time, {}};
  each_lane(warp.executing, [&](int lane) {
    const uint32_t address = shared_operand(warp, instruction, 0, lane);
    const MbarrierPlace barrier = find_mbarrier(warp, instruction, lane, address);
    access_shared(warp, instruction, lane, address, kObjectBytes, Access::kAtomic);
    kPrepare(warp, instruction, lane, barrier);
    arrival.places[lane] = barrier.place;
  });
  remember_clock(warp, arrival);
  warp.block->cluster->pending.push_back(
      {[arrival = std::move(arrival)]() mutable { complete(arrival); }});
  return Status::kNext;
}

ROOFGATE_OPERATION("cp.async.mbarrier.arrive", arrive_after_copies<plan_arrival>);
ROOFGATE_OPERATION("cp.async.mbarrier.arrive.noinc", arrive_after_copies<count_on_arrival>);

}  // namespace
}  // namespace roofgate::sim
