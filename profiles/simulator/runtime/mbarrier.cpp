// PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier".
//
// A wait stops the lanes until the phase is complete: kernels loop around it, and the number of
// turns, which depends on time, must not show in the counters.
#include "mbarrier.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "findings.h"
#include "lanewise.h"
#include "relaxed_order.h"
#include "shared_operand.h"

namespace roofgate::sim {
namespace {

constexpr uint32_t kObjectBytes = 8;
constexpr uint64_t kPattern = 0x6d62617272696572;  // of a valid object
constexpr int kStateCountBits = 20;

[[noreturn]] void fail_object(Warp& warp, const Instruction& instruction, int lane,
                              uint32_t address, const std::string& message) {
  fail(warp, instruction,
       {Check::kMbarrier, message, LaneMask{1} << lane, Space::kShared, address, kObjectBytes});
}

void require_alignment(Warp& warp, const Instruction& instruction, int lane, uint32_t address) {
  if (address % kObjectBytes == 0) return;
  fail_object(warp, instruction, lane, address, "an mbarrier object must be aligned to 8 bytes");
}

// What an arrive returns: the phase and the count before it. Opaque in PTX.
uint64_t state_of(const Mbarrier& object) {
  return object.phase << kStateCountBits | object.pending;
}
uint64_t phase_of_state(uint64_t state) { return state >> kStateCountBits; }
uint64_t count_of_state(uint64_t state) { return state & kMaxMbarrierCount; }

void complete_phase(const MbarrierPlace& barrier) {
  Mbarrier& object = *barrier.object;
  if (object.pending || object.transactions) return;
  ++object.phase;
  object.pending = object.expected;
  std::swap(object.completed, object.gathering);
  object.gathering.clear();
  Block& block = *barrier.place.block;
  ++block.cluster->progress;
  wake(block, WaitKind::kMbarrier, barrier.place.offset);
}

void take_arrivals(Warp& warp, const Instruction& instruction, int lane,
                   const MbarrierPlace& barrier, uint32_t count) {
  Mbarrier& object = *barrier.object;
  if (count > object.pending) {
    fail_object(warp, instruction, lane, barrier.place.offset,
                std::to_string(count) + " arrivals, but the phase lacks only " +
                    std::to_string(object.pending) + " of " + std::to_string(object.expected));
  }
  object.pending -= count;
}

void add_transactions(Warp& warp, const Instruction& instruction, int lane,
                      const MbarrierPlace& barrier, int64_t bytes) {
  int64_t& transactions = barrier.object->transactions;
  transactions += bytes;
  if (transactions <= kMaxMbarrierCount && transactions >= -kMaxMbarrierCount) return;
  fail_object(
      warp, instruction, lane, barrier.place.offset,
      "the transaction count leaves its range of 2^20 - 1 bytes: " + std::to_string(transactions));
}

// The object that a lane names, for an access by the kernel: it must be ordered after
// mbarrier.init.
MbarrierPlace access_mbarrier(Warp& warp, const Instruction& instruction, int lane,
                              uint32_t address) {
  const MbarrierPlace barrier = find_mbarrier(warp, instruction, lane, address);
  access_shared(warp, instruction, lane, address, kObjectBytes, Access::kAtomic);
  return barrier;
}

Status init(Warp& warp, const Instruction& instruction) {
  const Lanes<uint32_t>& counts = warp.lanes<uint32_t>(instruction.operands[kSharedOperands]);
  each_lane(warp.executing, [&](int lane) {
    const uint32_t address = shared_operand(warp, instruction, 0, lane);
    require_alignment(warp, instruction, lane, address);
    if (counts[lane] == 0 || counts[lane] > kMaxMbarrierCount) {
      fail_object(warp, instruction, lane, address,
                  "expected a count from 1 to 2^20 - 1, got " + std::to_string(counts[lane]));
    }
    std::byte* bytes =
        access_shared(warp, instruction, lane, address, kObjectBytes, Access::kWrite);
    std::memcpy(bytes, &kPattern, kObjectBytes);
    const SharedPlace place = shared_place(warp, instruction, address);
    Mbarrier& object = place.block->mbarriers->objects[place.offset];
    const Mbarrier old = std::exchange(object, Mbarrier());
    object.expected = object.pending = counts[lane];
    object.agent = old.agent;
    object.agent_time = old.agent_time;
  });
  return Status::kNext;
}

Status invalidate(Warp& warp, const Instruction& instruction) {
  each_lane(warp.executing, [&](int lane) {
    const uint32_t address = shared_operand(warp, instruction, 0, lane);
    const MbarrierPlace barrier = find_mbarrier(warp, instruction, lane, address);
    std::byte* bytes =
        access_shared(warp, instruction, lane, address, kObjectBytes, Access::kWrite);
    std::memset(bytes, 0, kObjectBytes);
    barrier.place.block->mbarriers->objects.erase(barrier.place.offset);
  });
  return Status::kNext;
}

enum class Memory { kRelaxed, kOrdered };
enum class Drop { kNo, kYes };
enum class Counts { kArrivals, kTransactions, kArrivalsWithoutEnd };

// Operands: state (destination), address, then arrivals or bytes.
template <Memory memory, Drop drop, Counts counts>
Status arrive_on(Warp& warp, const Instruction& instruction) {
  Lanes<uint64_t>& states = warp.lanes<uint64_t>(instruction.operands[0]);
  const Lanes<uint32_t>& values = warp.lanes<uint32_t>(instruction.operands[1 + kSharedOperands]);
  each_lane(warp.executing, [&](int lane) {
    const uint32_t address = shared_operand(warp, instruction, 1, lane);
    const MbarrierPlace barrier = access_mbarrier(warp, instruction, lane, address);
    Mbarrier& object = *barrier.object;
    const uint32_t value = values[lane];
    const uint32_t count = counts == Counts::kTransactions ? 1 : value;
    if constexpr (counts == Counts::kTransactions) {
      add_transactions(warp, instruction, lane, barrier, value);
    }
    states[lane] = state_of(object);
    take_arrivals(warp, instruction, lane, barrier, count);
    if constexpr (drop == Drop::kYes) object.expected -= count;
    if constexpr (counts == Counts::kArrivalsWithoutEnd) {
      if (!object.pending) {
        fail_object(warp, instruction, lane, address,
                    "the last arrival of a phase must not be .noComplete");
      }
    }
    memory == Memory::kOrdered ? release(warp, object.gathering)
                               : relaxed_release(warp, object.gathering);
    complete_phase(barrier);
  });
  return Status::kNext;
}

// mbarrier.expect_tx and complete_tx: operands are the address and the bytes.
template <int sign>
Status change_transactions(Warp& warp, const Instruction& instruction) {
  const Lanes<uint32_t>& bytes = warp.lanes<uint32_t>(instruction.operands[kSharedOperands]);
  each_lane(warp.executing, [&](int lane) {
    const uint32_t address = shared_operand(warp, instruction, 0, lane);
    const MbarrierPlace barrier = access_mbarrier(warp, instruction, lane, address);
    add_transactions(warp, instruction, lane, barrier, sign * int64_t{bytes[lane]});
    complete_phase(barrier);
  });
  return Status::kNext;
}

// The parity names the present phase or the one before it.
struct ByParity {
  using Value = uint32_t;
  static bool is_complete(Warp&, const Instruction&, int, const MbarrierPlace& barrier,
                          uint32_t parity) {
    return (barrier.object->phase & 1) != (parity & 1);
  }
};

struct ByState {
  using Value = uint64_t;
  static bool is_complete(Warp& warp, const Instruction& instruction, int lane,
                          const MbarrierPlace& barrier, uint64_t state) {
    const uint64_t present = barrier.object->phase;
    const uint64_t phase = phase_of_state(state);
    if (phase != present && phase + 1 != present) {
      fail_object(warp, instruction, lane, barrier.place.offset,
                  "the state is neither of the present phase nor of the one before it");
    }
    return phase != present;
  }
};

// Operands: predicate (destination), address, state or parity. A wait may always answer "no", so
// lanes that can go on do not wait for others.
template <class Named, Memory memory>
Status wait(Warp& warp, const Instruction& instruction) {
  const auto& values = warp.lanes<typename Named::Value>(instruction.operands[1 + kSharedOperands]);
  LaneMask complete = 0;
  Mbarrier* acquired = nullptr;
  uint32_t offset = 0;
  each_lane(warp.executing, [&](int lane) {
    const uint32_t address = shared_operand(warp, instruction, 1, lane);
    const MbarrierPlace barrier = access_mbarrier(warp, instruction, lane, address);
    offset = barrier.place.offset;
    if (!Named::is_complete(warp, instruction, lane, barrier, values[lane])) return;
    complete |= LaneMask{1} << lane;
    if (acquired == barrier.object) return;
    acquired = barrier.object;
    memory == Memory::kOrdered ? acquire(warp, acquired->completed)
                               : relaxed_acquire(warp, acquired->completed);
  });
  if (!complete && !warp.poll_released) {
    return wait_for(warp, Status::kRetry, WaitKind::kMbarrier, offset);
  }
  write_predicate(warp, instruction.operands[0], complete);
  return Status::kNext;
}

uint32_t pending_count(uint64_t state) { return static_cast<uint32_t>(count_of_state(state)); }

using enum Counts;
ROOFGATE_OPERATION("mbarrier.init", init);
ROOFGATE_OPERATION("mbarrier.inval", invalidate);
ROOFGATE_OPERATION("mbarrier.expect_tx", change_transactions<1>);
ROOFGATE_OPERATION("mbarrier.complete_tx", change_transactions<-1>);
ROOFGATE_OPERATION("mbarrier.arrive", arrive_on<Memory::kOrdered, Drop::kNo, kArrivals>);
ROOFGATE_OPERATION("mbarrier.arrive.relaxed", arrive_on<Memory::kRelaxed, Drop::kNo, kArrivals>);
ROOFGATE_OPERATION("mbarrier.arrive.expect_tx",
                   arrive_on<Memory::kOrdered, Drop::kNo, kTransactions>);
ROOFGATE_OPERATION("mbarrier.arrive.expect_tx.relaxed",
                   arrive_on<Memory::kRelaxed, Drop::kNo, kTransactions>);
ROOFGATE_OPERATION("mbarrier.arrive.noComplete",
                   arrive_on<Memory::kOrdered, Drop::kNo, kArrivalsWithoutEnd>);
ROOFGATE_OPERATION("mbarrier.arrive_drop", arrive_on<Memory::kOrdered, Drop::kYes, kArrivals>);
ROOFGATE_OPERATION("mbarrier.arrive_drop.relaxed",
                   arrive_on<Memory::kRelaxed, Drop::kYes, kArrivals>);
ROOFGATE_OPERATION("mbarrier.arrive_drop.expect_tx",
                   arrive_on<Memory::kOrdered, Drop::kYes, kTransactions>);
ROOFGATE_OPERATION("mbarrier.arrive_drop.expect_tx.relaxed",
                   arrive_on<Memory::kRelaxed, Drop::kYes, kTransactions>);
ROOFGATE_OPERATION("mbarrier.arrive_drop.noComplete",
                   arrive_on<Memory::kOrdered, Drop::kYes, kArrivalsWithoutEnd>);
ROOFGATE_OPERATION("mbarrier.wait", wait<ByState, Memory::kOrdered>);
ROOFGATE_OPERATION("mbarrier.wait.relaxed", wait<ByState, Memory::kRelaxed>);
ROOFGATE_OPERATION("mbarrier.wait.parity", wait<ByParity, Memory::kOrdered>);
ROOFGATE_OPERATION("mbarrier.wait.parity.relaxed", wait<ByParity, Memory::kRelaxed>);
ROOFGATE_OPERATION("mbarrier.pending_count", lanewise<pending_count>);

}  // namespace

MbarrierPlace find_mbarrier(Warp& warp, const Instruction& instruction, int lane,
                            uint32_t address) {
  require_alignment(warp, instruction, lane, address);
  return find_mbarrier(warp, instruction, lane, shared_place(warp, instruction, address));
}

MbarrierPlace find_mbarrier(Warp& warp, const Instruction& instruction, int lane,
                            const SharedPlace& place) {
  auto& objects = place.block->mbarriers->objects;
  const auto found = objects.find(place.offset);
  if (found == objects.end()) {
    fail_object(warp, instruction, lane, place.offset,
                "no valid mbarrier object: not initialised, or invalidated");
  }
  if (std::memcmp(place.block->shared + place.offset, &kPattern, kObjectBytes) != 0) {
    fail_object(warp, instruction, lane, place.offset,
                "the mbarrier object was overwritten by other accesses");
  }
  return {&found->second, place};
}

void arrive(Warp& warp, const Instruction& instruction, int lane, const MbarrierPlace& barrier,
            uint32_t count) {
  take_arrivals(warp, instruction, lane, barrier, count);
  release(warp, barrier.object->gathering);
  complete_phase(barrier);
}

void expect_arrivals(Warp& warp, const Instruction& instruction, int lane,
                     const MbarrierPlace& barrier, uint32_t count) {
  uint32_t& pending = barrier.object->pending;
  pending += count;
  if (pending <= kMaxMbarrierCount) return;
  fail_object(warp, instruction, lane, barrier.place.offset, "more than 2^20 - 1 pending arrivals");
}

AsyncAccess mbarrier_access(Warp& warp, const Instruction& instruction, int lane, Mbarrier& object,
                            const char* action) {
  AsyncAccess access;
  access.issuer = Party{instruction.site, warp.block->index, warp.index, lane, action};
  access.warp = &warp;
  access.instruction = &instruction;
  if (!launch_of(warp).options.check_races) return access;
  if (!object.agent) object.agent = new_agent(*warp.block->cluster);
  access.agent = object.agent;
  access.time = ++object.agent_time;
  access.clock = warp.async_clock;
  access.issuer_clock = warp.clock;
  return access;
}

void complete_transaction(const AsyncAccess& access, const MbarrierPlace& barrier, int64_t bytes) {
  add_transactions(*access.warp, *access.instruction, access.issuer.lane, barrier, -bytes);
  if (access.agent) {
    SyncPoint& gathering = barrier.object->gathering;
    // Copies end in any order; a phase ends when all of its copies have.
    const uint32_t time = std::max(access.time, gathering.clock[access.agent]);
    gathering.clock.set(access.agent, time);
    gathering.async_clock.set(access.agent, time);
  }
  complete_phase(barrier);
}

}  // namespace roofgate::sim
