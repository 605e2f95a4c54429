// The machine's state while a kernel runs: launch, cluster, block, warp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bulk_groups.h"
#include "copy_groups.h"
#include "lanes.h"
#include "program.h"
#include "sync_clock.h"
#include "wgmma_groups.h"

namespace roofgate::sim {

struct Launch;
struct Cluster;
struct Block;
class SharedShadow;
class GlobalShadow;
struct MbarrierTable;

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// Which checks and counts cost extra time. Alignment, bounds, aligned instructions, barriers and
// deadlocks are always checked.
struct Options {
  bool check_races = false;  // with it: initialisation, copies in flight, wgmma, proxies
  bool count = true;         // wavefronts and sectors; executed instructions are always counted
  uint64_t seed = 0;         // 0: the fixed schedule
  int threads = 1;           // blocks that run at a time
  uint64_t instruction_limit = 4'000'000'000;  // warp-instructions of one launch
};

// What one instruction did, summed over a launch.
struct SiteCounters {
  uint64_t executed = 0;    // by a warp
  uint64_t lanes = 0;       // that executed it
  uint64_t divergent = 0;   // executions without all live lanes; of a branch, those that split
  uint64_t requests = 0;    // to memory
  uint64_t wavefronts = 0;  // shared memory
  uint64_t sectors = 0;     // global memory, 32 bytes each
  uint64_t bytes = 0;       // moved by asynchronous copies
};

// Lanes that stop say why, for the deadlock report.
enum class WaitKind : uint8_t {
  kBarrier,   // bar.sync: object is the barrier's number
  kMbarrier,  // mbarrier.try_wait: object is its shared address
  kCopies,    // asynchronous copies
  kCluster,   // barrier.cluster
};

// Lanes of a warp that stopped together.
struct Wait {
  LaneMask lanes;
  WaitKind kind;
  uint64_t object;
};

struct Warp {
  Block* block = nullptr;
  uint32_t index = 0;  // in the block
  uint32_t agent = 0;  // in the cluster, for clocks: rank of the block * warps per block + index

  // Lanes: not exited; on the present path; and on it with a guard that holds (what handlers use).
  LaneMask live = 0;
  LaneMask active = 0;
  LaneMask executing = 0;
  LaneMask waiting = 0;  // live lanes that stopped until somebody wakes them
  LaneMask parked = 0;   // live lanes that stopped until other lanes of the warp reach their place

  uint32_t pc = 0;        // of the active lanes
  uint32_t merge_pc = 0;  // where the active lanes may meet others; ~0u if there are none
  uint32_t lane_pc[kLanes] = {};

  std::byte* registers = nullptr;  // the register file, 64-byte aligned
  std::byte* local = nullptr;      // local memory: lane l begins at l * local_bytes

  VectorClock clock;
  VectorClock async_clock;
  RemoteClocks remote;
  Fences fences;

  std::vector<Wait> waits;     // why lanes wait
  uint64_t executed = 0;       // instructions
  bool poll_released = false;  // nothing else can run: a poll has to answer "no"

  LaneMask cluster_arrived = 0;  // barrier.cluster: in the present phase
  LaneMask cluster_passed = 0;   // in one that is complete, but have not waited yet

  CopyGroups copies;  // cp.async
  BulkGroups bulk;    // bulk and tensor copies
  WgmmaGroups wgmma;  // products

  template <class T>
  Lanes<T>& lanes(int64_t operand) {
    return *reinterpret_cast<Lanes<T>*>(registers + operand);
  }
  LaneMask& predicate(int64_t operand) { return *reinterpret_cast<LaneMask*>(registers + operand); }

  bool converged() const { return active == live; }
};

// A warp that stopped at a barrier.
struct BarrierWaiter {
  Warp* warp;
  LaneMask lanes;
  const Instruction* instruction;
};

struct Barrier {
  bool in_use = false;          // somebody has arrived in the present phase
  uint32_t expected_lanes = 0;  // 0: all that live
  uint32_t arrived_lanes = 0;
  uint32_t first_site = 0;  // of the present phase
  uint32_t first_warp = 0;
  uint32_t true_lanes = 0;  // barrier.red: for how many lanes the predicate held
  SyncPoint point;
  std::vector<BarrierWaiter> waiters;
};

constexpr int kBarriers = 16;

struct Block {
  Cluster* cluster = nullptr;
  uint32_t rank = 0;            // in the cluster
  Dim3 index;                   // blockIdx (zero-based)
  std::byte* shared = nullptr;  // 1024-byte aligned
  uint32_t shared_bytes = 0;    // static and dynamic
  std::vector<Warp> warps;
  uint32_t live_lanes = 0;
  Barrier barriers[kBarriers];
  std::shared_ptr<MbarrierTable> mbarriers;
  std::unique_ptr<SharedShadow> shadow;  // nullptr unless races are checked
};

// Something that happens later, by nobody's instruction: a TMA copy. The scheduler runs them when
// no warp can go on, or in between if a seed asks for it.
struct PendingOperation {
  std::function<void()> run;
};

// barrier.cluster; who has arrived is in the warps.
struct ClusterBarrier {
  SyncPoint gathering;  // of the present phase
  SyncPoint completed;  // of the last one
};

struct Cluster {
  Launch* launch = nullptr;
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<PendingOperation> pending;
  ClusterBarrier barrier;
  uint32_t next_agent = 0;           // see new_agent
  uint64_t random_state = 0;         // of this cluster's schedule
  SiteCounters* counters = nullptr;  // by site
  uint64_t progress = 0;             // grows whenever something that lanes wait for happens
};

struct Launch {
  const Program* program = nullptr;
  Dim3 grid, block, cluster;
  uint32_t dynamic_shared_bytes = 0;
  std::vector<std::byte> parameters;
  Options options;
  std::vector<SiteCounters> counters;
  std::unique_ptr<GlobalShadow> global_shadow;  // nullptr unless races are checked
};

inline Launch& launch_of(const Warp& warp) { return *warp.block->cluster->launch; }
inline SiteCounters& counters_of(const Warp& warp, const Instruction& instruction) {
  return warp.block->cluster->counters[instruction.site];
}

// --- scheduling, for handlers ---

// A new agent of the cluster's clocks, for asynchronous work.
uint32_t new_agent(Cluster& cluster);

// Stops the executing lanes: return the result from the handler. With kWaiting they go on behind
// the instruction, with kRetry they execute it again.
Status wait_for(Warp& warp, Status status, WaitKind kind, uint64_t object);

// Wakes the lanes of one warp, or of all warps of a block or cluster, that wait for this.
void wake(Warp& warp, WaitKind kind, uint64_t object);
void wake(Block& block, WaitKind kind, uint64_t object);
void wake(Cluster& cluster, WaitKind kind, uint64_t object);

// A random number below `bound` from the cluster's schedule; 0 if there is no seed.
uint32_t choose(Cluster& cluster, uint32_t bound);

// For instructions that need all live lanes: lanes that lag behind are waited for (by an exception
// that the interpreter catches); lanes that never come end the launch with a finding.
void require_convergence(Warp& warp, const Instruction& instruction);

// Whether all live lanes that the executing lanes' member masks name execute this instruction now.
// If not, the executing lanes are parked: return Status::kRetry at once.
bool members_arrived(Warp& warp, const Instruction& instruction, const Lanes<uint32_t>& members);

}  // namespace roofgate::sim
