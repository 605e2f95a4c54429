// Lanes that went different ways run in groups: the one with the lowest program counter first,
// until it meets another group and merges with it. Compilers lay code out so that this reconverges
// where the hardware does; where it is not enough (an instruction needs lanes that lag behind
// because they wait), the lanes that are there are parked until the others come.
#include "interpreter.h"

#include <algorithm>

#include "findings.h"

namespace roofgate::sim {

thread_local Warp* current_warp = nullptr;
thread_local const Instruction* current_instruction = nullptr;

namespace {

constexpr uint32_t kNowhere = ~0u;

// Thrown by require_convergence, since its callers have nothing to undo.
struct LanesMissing {};

void remember_place(Warp& warp) {
  each_lane(warp.active, [&](int lane) { warp.lane_pc[lane] = warp.pc; });
  warp.active = 0;
}

uint32_t lowest_pc(const Warp& warp, LaneMask lanes) {
  uint32_t lowest = kNowhere;
  each_lane(lanes, [&](int lane) { lowest = std::min(lowest, warp.lane_pc[lane]); });
  return lowest;
}

LaneMask lanes_at(const Warp& warp, LaneMask lanes, uint32_t pc) {
  LaneMask result = 0;
  each_lane(lanes, [&](int lane) { result |= LaneMask{warp.lane_pc[lane] == pc} << lane; });
  return result;
}

[[noreturn]] void fail_convergence(Warp& warp) {
  const LaneMask lanes = lanes_at(warp, warp.parked, lowest_pc(warp, warp.parked));
  const uint32_t site = warp.lane_pc[first_lane(lanes)];
  const LaneMask others = warp.parked & ~lanes;
  Finding finding{Check::kDivergence, "the instruction needs lanes that never execute it", lanes};
  if (others) {
    const uint32_t other_site = warp.lane_pc[first_lane(others)];
    finding.other = Party{other_site, warp.block->index, warp.index, first_lane(others), "waits"};
    finding.message += ": they wait at {site " + std::to_string(other_site) + "}";
  }
  fail(warp, launch_of(warp).program->instructions[site], std::move(finding));
}

// Chooses the lanes that go on. Without any, `active` stays empty.
void choose_lanes(Warp& warp) {
  warp.merge_pc = kNowhere;
  const LaneMask ready = warp.live & ~warp.waiting & ~warp.parked;
  if (!ready) {
    if (warp.live && !warp.waiting) fail_convergence(warp);
    return;
  }
  warp.pc = lowest_pc(warp, ready);
  warp.active = lanes_at(warp, ready | warp.parked, warp.pc);
  warp.parked &= ~warp.active;
  const LaneMask others = (ready | warp.parked) & ~warp.active;
  each_lane(others, [&](int lane) {
    if (warp.lane_pc[lane] > warp.pc) warp.merge_pc = std::min(warp.merge_pc, warp.lane_pc[lane]);
  });
}

void regroup(Warp& warp) {
  remember_place(warp);
  choose_lanes(warp);
}

Status execute(Warp& warp, const Instruction& instruction) {
  try {
    return instruction.handler(warp, instruction);
  } catch (const LanesMissing&) {
    warp.parked |= warp.active;
    return Status::kRetry;
  }
}

void advance(Warp& warp, Status status) {
  switch (status) {
    case Status::kNext:
      if (++warp.pc >= warp.merge_pc) regroup(warp);
      break;
    case Status::kJumped:
      break;
    case Status::kWaiting:
      ++warp.pc;
      regroup(warp);
      break;
    case Status::kRetry:
      regroup(warp);
      break;
  }
}

}  // namespace

bool can_run(const Warp& warp) {
  return (warp.live & ~warp.waiting & ~warp.parked) || (warp.live && !warp.waiting);
}

uint64_t run_warp(Warp& warp, uint64_t quantum) {
  const Program& program = *launch_of(warp).program;
  const auto end = static_cast<uint32_t>(program.instructions.size());
  SiteCounters* const counters = warp.block->cluster->counters;
  current_warp = &warp;
  regroup(warp);
  uint64_t executed = 0;
  for (; warp.active && executed < quantum; ++executed) {
    if (warp.pc >= end) {  // fell off the end
      warp.executing = warp.active;
      exit_lanes(warp);
      continue;
    }
    const Instruction& instruction = program.instructions[warp.pc];
    current_instruction = &instruction;
    const LaneMask active = warp.active;
    const bool diverged = active != warp.live;
    LaneMask executing = active;
    if (instruction.guard != kNoGuard) {
      const LaneMask holds = warp.predicate(instruction.guard);
      executing &= instruction.guard_negated ? ~holds : holds;
    }
    warp.executing = executing;
    const Status status = executing ? execute(warp, instruction) : Status::kNext;
    if (status != Status::kRetry) {
      SiteCounters& site = counters[instruction.site];
      ++site.executed;
      ++warp.executed;
      site.lanes += count_lanes(executing);
      site.divergent += diverged && status != Status::kJumped;
      warp.poll_released = false;
    }
    advance(warp, status);
  }
  remember_place(warp);
  return executed;
}

void branch(Warp& warp, const Instruction& instruction, LaneMask taken, uint32_t target) {
  if (taken == warp.active) {
    warp.pc = target;
    if (warp.merge_pc != kNowhere || taken != warp.live) regroup(warp);
    return;
  }
  counters_of(warp, instruction).divergent += taken != 0;
  ++warp.pc;
  const LaneMask all = warp.active;
  remember_place(warp);
  each_lane(taken & all, [&](int lane) { warp.lane_pc[lane] = target; });
  choose_lanes(warp);
}

Status exit_lanes(Warp& warp) {
  const LaneMask leaving = warp.executing;
  ++warp.pc;
  remember_place(warp);
  warp.live &= ~leaving;
  warp.parked = 0;  // who waited for these lanes need not any more
  warp.block->live_lanes -= count_lanes(leaving);
  choose_lanes(warp);
  return Status::kJumped;
}

Status wait_for(Warp& warp, Status status, WaitKind kind, uint64_t object) {
  warp.waiting |= warp.active;
  warp.waits.push_back({warp.active, kind, object});
  return status;
}

void wake(Warp& warp, WaitKind kind, uint64_t object) {
  std::erase_if(warp.waits, [&](const Wait& wait) {
    const bool over = wait.kind == kind && wait.object == object;
    if (over) warp.waiting &= ~wait.lanes;
    return over;
  });
  warp.merge_pc = 0;  // if the warp runs: choose again which lanes go on
  ++warp.block->cluster->progress;
}

void wake(Block& block, WaitKind kind, uint64_t object) {
  for (Warp& warp : block.warps) {
    if (warp.waiting) wake(warp, kind, object);
  }
}

void wake(Cluster& cluster, WaitKind kind, uint64_t object) {
  for (const auto& block : cluster.blocks) wake(*block, kind, object);
}

void require_convergence(Warp& warp, const Instruction& instruction) {
  if (warp.executing == warp.live) return;
  if (warp.executing != warp.active) {
    fail(warp, instruction,
         {Check::kDivergence, "the guard excludes lanes of an instruction that needs all of them",
          warp.executing});
  }
  throw LanesMissing{};
}

bool members_arrived(Warp& warp, const Instruction& instruction, const Lanes<uint32_t>& members) {
  LaneMask missing = 0;
  each_lane(warp.executing, [&](int lane) {
    if (!has_lane(members[lane], lane)) {
      fail(warp, instruction,
           {Check::kDivergence,
            "a lane executes the instruction but its member mask does not name it",
            LaneMask{1} << lane});
    }
    missing |= members[lane] & warp.live & ~warp.executing;
  });
  if (!missing) return true;
  warp.parked |= warp.active;
  return false;
}

}  // namespace roofgate::sim
