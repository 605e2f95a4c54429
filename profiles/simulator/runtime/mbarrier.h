// mbarrier objects: barriers in shared memory with phases, arrivals and transaction counts.
//
// The state lives here, by the object's place in its block's memory; the 8 bytes in shared memory
// only hold a pattern that shows when they were overwritten.
#pragma once

#include <cstdint>
#include <map>

#include "memory.h"
#include "sync_clock.h"

namespace roofgate::sim {

// PTX ISA, "Contents of the mbarrier object": the range of both counts.
constexpr int64_t kMaxMbarrierCount = (1 << 20) - 1;

struct Mbarrier {
  uint32_t expected = 0;     // arrivals that complete a phase
  uint32_t pending = 0;      // of them, those that the present phase still lacks
  int64_t transactions = 0;  // bytes of copies that the present phase still waits for
  uint64_t phase = 0;        // phases completed
  SyncPoint gathering;       // what the arrivals of the present phase release
  SyncPoint completed;       // the same of the last completed phase: what waiters acquire
  uint32_t agent = 0;        // all copies that complete here share one clock; 0: none yet
  uint32_t agent_time = 0;
};

struct MbarrierTable {
  std::map<uint32_t, Mbarrier> objects;  // valid ones, by offset in the block's memory
};

struct MbarrierPlace {
  Mbarrier* object;
  SharedPlace place;
};

// The object at a shared address, of this or another block. Fails with a finding if it is
// misaligned, was never initialised, was invalidated or overwritten.
MbarrierPlace find_mbarrier(Warp& warp, const Instruction& instruction, int lane, uint32_t address);
// The same by place, when a copy completes.
MbarrierPlace find_mbarrier(Warp& warp, const Instruction& instruction, int lane,
                            const SharedPlace& place);

// `count` arrivals that release all that the warp has seen.
void arrive(Warp& warp, const Instruction& instruction, int lane, const MbarrierPlace& barrier,
            uint32_t count);

// More arrivals are needed in the present phase: cp.async.mbarrier.arrive without .noinc.
void expect_arrivals(Warp& warp, const Instruction& instruction, int lane,
                     const MbarrierPlace& barrier, uint32_t count);

// A copy that completes on an object, as an agent for the clocks.
AsyncAccess mbarrier_access(Warp& warp, const Instruction& instruction, int lane, Mbarrier& object,
                            const char* action);

// The copy has written `bytes`: who waits for the phase sees them.
void complete_transaction(const AsyncAccess& access, const MbarrierPlace& barrier, int64_t bytes);

}  // namespace roofgate::sim
