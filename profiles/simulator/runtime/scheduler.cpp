// Worker threads take clusters of blocks in order and run the warps of one until all have ended.
//
// The fixed schedule runs each warp until it stops. With a seed, warps have random priorities that
// change now and then (probabilistic concurrency testing: Burckhardt et al., ASPLOS 2010), turns are
// short, and copies land at random times; the same seed gives the same schedule on any number of
// threads, since every cluster has a random state of its own.
#include "scheduler.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <thread>

#include "barriers.h"
#include "findings.h"
#include "global_shadow.h"
#include "interpreter.h"
#include "mbarrier.h"
#include "shadow.h"
#include "special_registers.h"

namespace roofgate::sim {
namespace {

constexpr uint64_t kFixedTurn = 1 << 16;  // warp-instructions; ends only loops that wait for others
constexpr uint32_t kRandomTurn = 256;
// A cluster that takes longer may wait for blocks that have not started: others get a turn.
constexpr uint64_t kClusterTurn = 4'000'000;
constexpr size_t kResidentClusters = 128;
constexpr int kIdleRounds = 64;  // of answering polls with "no" before it is a deadlock
constexpr uint64_t kSharedAlignment = 1024;
constexpr uint64_t kRegisterAlignment = 64;
constexpr int kPoison = 0xff;  // NaN in every floating-point format

uint64_t next_random(uint64_t& state) {  // splitmix64 (Steele, Lea and Flood, OOPSLA 2014)
  uint64_t value = state += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

uint64_t round_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

Dim3 position(uint64_t index, const Dim3& extent) {
  return {static_cast<uint32_t>(index % extent.x),
          static_cast<uint32_t>(index / extent.x % extent.y),
          static_cast<uint32_t>(index / extent.x / extent.y)};
}

Dim3 cluster_grid(const Launch& launch) {
  return {launch.grid.x / launch.cluster.x, launch.grid.y / launch.cluster.y,
          launch.grid.z / launch.cluster.z};
}

uint32_t shared_bytes(const Launch& launch) {
  const Program& program = *launch.program;
  if (launch.dynamic_shared_bytes == 0) return program.static_shared_bytes;
  return round_up(program.static_shared_bytes, program.dynamic_shared_alignment) +
         launch.dynamic_shared_bytes;
}

// Memory of one cluster, used again by the next.
class Arena {
 public:
  std::byte* take(uint64_t bytes, uint64_t alignment) {
    auto& chunk = used_ < chunks_.size() ? chunks_[used_] : chunks_.emplace_back();
    ++used_;
    if (chunk.size() < bytes + alignment) chunk.resize(bytes + alignment);
    const auto address = reinterpret_cast<uint64_t>(chunk.data());
    return reinterpret_cast<std::byte*>(round_up(address, alignment));
  }

  void reset() { used_ = 0; }

 private:
  std::deque<std::vector<std::byte>> chunks_;
  size_t used_ = 0;
};

struct Resident {
  Cluster cluster;
  Arena arena;
  std::vector<Warp*> warps;
  std::vector<uint64_t> priorities;
  size_t turn = 0;
  uint64_t known_progress = 0;
  int idle_rounds = 0;
};

// The registers of a warp before its first instruction, without the special ones.
std::vector<std::byte> initial_registers(const Program& program) {
  std::vector<std::byte> file(program.register_file_bytes);
  for (const Constant& constant : program.constants) {
    if (!constant.special.empty()) continue;
    std::byte* place = file.data() + constant.offset;
    if (constant.width == 1) {
      const LaneMask lanes = constant.value ? kAllLanes : 0;
      std::memcpy(place, &lanes, sizeof lanes);
      continue;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      std::memcpy(place + lane * constant.width, &constant.value, constant.width);
    }
  }
  return file;
}

// What the workers of one launch share.
struct Shared {
  Launch& launch;
  std::vector<uint64_t> order;  // of clusters
  std::vector<std::byte> registers;
  std::atomic<uint64_t> next = 0;
  std::atomic<uint64_t> executed = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;  // of the launch's counters and `failure`
  std::string failure;
};

void prepare_warp(Warp& warp, Resident& resident, const Shared& shared, uint32_t threads) {
  const Program& program = *shared.launch.program;
  const uint32_t lanes = std::min<uint32_t>(threads - warp.index * kLanes, kLanes);
  warp.live = lanes == kLanes ? kAllLanes : (LaneMask{1} << lanes) - 1;
  warp.registers = resident.arena.take(program.register_file_bytes, kRegisterAlignment);
  std::memcpy(warp.registers, shared.registers.data(), program.register_file_bytes);
  const uint64_t local = uint64_t{program.local_bytes} * kLanes;
  if (local) {
    warp.local = resident.arena.take(local, kRegisterAlignment);
    std::memset(warp.local, kPoison, local);
  }
  warp.clock.set(warp.agent, 1);
  set_special_registers(warp);
  resident.warps.push_back(&warp);
}

void prepare_block(Block& block, Resident& resident, const Shared& shared) {
  const Launch& launch = shared.launch;
  const auto threads = static_cast<uint32_t>(launch.block.count());
  block.cluster = &resident.cluster;
  block.shared_bytes = shared_bytes(launch);
  block.shared = resident.arena.take(std::max(block.shared_bytes, 1u), kSharedAlignment);
  std::memset(block.shared, kPoison, block.shared_bytes);
  block.live_lanes = threads;
  block.mbarriers = std::make_shared<MbarrierTable>();
  if (launch.options.check_races) block.shadow = std::make_unique<SharedShadow>(block.shared_bytes);
  const uint32_t warps = (threads + kLanes - 1) / kLanes;
  block.warps.resize(warps);
  for (uint32_t i = 0; i < warps; ++i) {
    Warp& warp = block.warps[i];
    warp.block = &block;
    warp.index = i;
    warp.agent = block.rank * warps + i;
    prepare_warp(warp, resident, shared, threads);
  }
}

void prepare(Resident& resident, const Shared& shared, uint64_t index, SiteCounters* counters) {
  const Launch& launch = shared.launch;
  Cluster& cluster = resident.cluster;
  cluster.launch = &shared.launch;
  cluster.counters = counters;
  cluster.random_state = launch.options.seed * 0x2545f4914f6cdd1d + index;
  const Dim3 origin = position(index, cluster_grid(launch));
  const auto warps = static_cast<uint32_t>((launch.block.count() + kLanes - 1) / kLanes);
  cluster.next_agent = static_cast<uint32_t>(launch.cluster.count()) * warps;
  for (uint32_t rank = 0; rank < launch.cluster.count(); ++rank) {
    const Dim3 offset = position(rank, launch.cluster);
    Block& block = *cluster.blocks.emplace_back(std::make_unique<Block>());
    block.rank = rank;
    block.index = {origin.x * launch.cluster.x + offset.x, origin.y * launch.cluster.y + offset.y,
                   origin.z * launch.cluster.z + offset.z};
    prepare_block(block, resident, shared);
  }
  for (size_t i = 0; i < resident.warps.size(); ++i) {
    resident.priorities.push_back(next_random(cluster.random_state));
  }
}

// Runs the clusters that one thread takes.
class Worker {
 public:
  explicit Worker(Shared& shared)
      : shared_(shared), counters_(shared.launch.program->instructions.size()) {}

  void run() {
    try {
      while (!shared_.stop && (start_cluster() || !residents_.empty())) run_residents();
    } catch (const std::exception& failure) {
      const std::lock_guard lock(shared_.mutex);
      if (!shared_.stop) shared_.failure = failure.what();
      shared_.stop = true;
    }
    const std::lock_guard lock(shared_.mutex);
    add_counters();
  }

 private:
  bool seeded() const { return shared_.launch.options.seed != 0; }

  bool start_cluster() {
    if (residents_.size() >= kResidentClusters) return false;
    const uint64_t place = shared_.next++;
    if (place >= shared_.order.size()) return false;
    auto resident = std::move(free_);
    if (!resident) resident = std::make_unique<Resident>();
    prepare(*resident, shared_, shared_.order[place], counters_.data());
    residents_.push_back(std::move(resident));
    return true;
  }

  // One turn for every resident cluster; those that ended leave.
  void run_residents() {
    for (auto& resident : residents_) {
      if (run_cluster(*resident)) finish(resident);
    }
    std::erase(residents_, nullptr);
  }

  void finish(std::unique_ptr<Resident>& resident) {
    Arena arena = std::move(resident->arena);
    arena.reset();
    resident = nullptr;
    free_ = std::make_unique<Resident>();
    free_->arena = std::move(arena);
  }

  // Returns whether all warps have ended.
  bool run_cluster(Resident& resident) {
    uint64_t executed = 0;
    const bool ended = run_turn(resident, executed);
    shared_.executed += executed;
    return ended;
  }

  bool run_turn(Resident& resident, uint64_t& executed) {
    while (executed < kClusterTurn && !shared_.stop) {
      if (seeded() && choose(resident.cluster, 4) == 0) run_pending(resident.cluster);
      Warp* const warp = seeded() ? choose_warp(resident) : next_warp(resident);
      if (warp) {
        const uint64_t turn = seeded() ? 1 + choose(resident.cluster, kRandomTurn) : kFixedTurn;
        executed += run_warp(*warp, turn);
        check_limit(*warp, executed);
        on_exits(*warp->block);
      } else if (!run_pending(resident.cluster)) {
        if (has_ended(resident)) return true;
        release_polls(resident);
      }
    }
    return false;
  }

  static bool has_ended(const Resident& resident) {
    return std::all_of(resident.warps.begin(), resident.warps.end(),
                       [](const Warp* warp) { return warp->live == 0; });
  }

  static Warp* next_warp(Resident& resident) {
    for (size_t i = 0; i < resident.warps.size(); ++i) {
      Warp* const warp = resident.warps[resident.turn];
      resident.turn = (resident.turn + 1) % resident.warps.size();
      if (can_run(*warp)) return warp;
    }
    return nullptr;
  }

  static Warp* choose_warp(Resident& resident) {
    Cluster& cluster = resident.cluster;
    const auto count = static_cast<uint32_t>(resident.warps.size());
    if (choose(cluster, 8) == 0) {
      resident.priorities[choose(cluster, count)] = next_random(cluster.random_state);
    }
    Warp* best = nullptr;
    uint64_t highest = 0;
    for (uint32_t i = 0; i < count; ++i) {
      if (!can_run(*resident.warps[i]) || (best && resident.priorities[i] <= highest)) continue;
      best = resident.warps[i];
      highest = resident.priorities[i];
    }
    return best;
  }

  static bool run_pending(Cluster& cluster) {
    if (cluster.pending.empty()) return false;
    const auto place = cluster.pending.begin() +
                       choose(cluster, static_cast<uint32_t>(cluster.pending.size()));
    const PendingOperation operation = std::move(*place);
    cluster.pending.erase(place);
    ++cluster.progress;
    operation.run();
    return true;
  }

  void check_limit(Warp& warp, uint64_t executed) {
    const uint64_t limit = shared_.launch.options.instruction_limit;
    if (shared_.executed + executed > limit) {
      fail(warp, *current_instruction,
           {Check::kEndless, "the launch has executed more than " + std::to_string(limit) +
                                 " warp-instructions: a loop that does not end?"});
    }
  }

  // Nothing can run: polls are answered with "no", unless that has not helped for long.
  static void release_polls(Resident& resident) {
    const bool progressed = resident.known_progress != resident.cluster.progress;
    resident.idle_rounds = progressed ? 0 : resident.idle_rounds + 1;
    bool polled = false;
    for (Warp* warp : resident.warps) {
      const auto polls = [](const Wait& wait) {
        return wait.kind == WaitKind::kMbarrier || wait.kind == WaitKind::kPolling;
      };
      for (auto wait = std::find_if(warp->waits.begin(), warp->waits.end(), polls);
           wait != warp->waits.end();
           wait = std::find_if(warp->waits.begin(), warp->waits.end(), polls)) {
        if (resident.idle_rounds >= kIdleRounds) fail_deadlock(resident);
        polled = warp->poll_released = true;
        wake(*warp, wait->kind, Wait(*wait).object);
      }
    }
    resident.known_progress = resident.cluster.progress;
    if (!polled) fail_deadlock(resident);
  }

  [[noreturn]] static void fail_deadlock(Resident& resident) {
    std::string message = "no warp can go on:";
    Warp* first = nullptr;
    for (Warp* warp : resident.warps) {
      if (!warp->live) continue;
      if (!first) first = warp;
      message += describe_waits(*warp);
    }
    const uint32_t site = first->lane_pc[first_lane(first->waiting ? first->waiting : first->live)];
    const Program& program = *first->block->cluster->launch->program;
    // A wait that is not repeated has moved on to the next instruction.
    const bool repeats = first->waits.empty() || first->waits[0].kind == WaitKind::kMbarrier;
    const uint32_t waiting_site = repeats || site == 0 ? site : site - 1;
    fail(*first, program.instructions[waiting_site], {Check::kDeadlock, message, first->waiting});
  }

  static std::string describe_waits(const Warp& warp) {
    std::string text;
    for (const Wait& wait : warp.waits) {
      const bool repeats = wait.kind == WaitKind::kMbarrier || wait.kind == WaitKind::kPolling;
      const uint32_t site = warp.lane_pc[first_lane(wait.lanes)] - (repeats ? 0 : 1);
      text += "\n  block (" + std::to_string(warp.block->index.x) + ", " +
              std::to_string(warp.block->index.y) + ", " + std::to_string(warp.block->index.z) +
              ") warp " + std::to_string(warp.index) + " waits " + describe(wait) + " at {site " +
              std::to_string(site) + "}";
    }
    return text;
  }

  static std::string describe(const Wait& wait) {
    const std::string object = std::to_string(wait.object);
    switch (wait.kind) {
      case WaitKind::kBarrier:
        return "for barrier " + object;
      case WaitKind::kMbarrier:
        return "for the mbarrier at shared address " + object;
      case WaitKind::kCopies:
        return "for asynchronous copies";
      case WaitKind::kCluster:
        return "for the barrier of the cluster";
      case WaitKind::kPolling:
        return "in a loop on memory";
    }
    return "";
  }

  void add_counters() {
    for (size_t i = 0; i < counters_.size(); ++i) {
      SiteCounters& sum = shared_.launch.counters[i];
      const SiteCounters& own = counters_[i];
      sum.executed += own.executed;
      sum.lanes += own.lanes;
      sum.divergent += own.divergent;
      sum.requests += own.requests;
      sum.wavefronts += own.wavefronts;
      sum.sectors += own.sectors;
      sum.bytes += own.bytes;
    }
  }

  Shared& shared_;
  std::vector<SiteCounters> counters_;
  std::vector<std::unique_ptr<Resident>> residents_;
  std::unique_ptr<Resident> free_;
};

std::vector<uint64_t> cluster_order(const Launch& launch) {
  std::vector<uint64_t> order(cluster_grid(launch).count());
  std::iota(order.begin(), order.end(), 0);
  if (launch.options.seed) {
    uint64_t state = launch.options.seed;
    for (size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[next_random(state) % i]);
    }
  }
  return order;
}

}  // namespace

uint32_t new_agent(Cluster& cluster) { return cluster.next_agent++; }

uint32_t choose(Cluster& cluster, uint32_t bound) {
  if (!cluster.launch->options.seed) return 0;
  return next_random(cluster.random_state) % bound;
}

void run_launch(Launch& launch) {
  Shared shared{.launch = launch,
                .order = cluster_order(launch),
                .registers = initial_registers(*launch.program)};
  launch.counters.assign(launch.program->instructions.size(), {});
  if (launch.options.check_races) launch.global_shadow = std::make_unique<GlobalShadow>();
  const size_t count = std::clamp<size_t>(launch.options.threads, 1, shared.order.size());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < count; ++i) {
    threads.emplace_back([&shared] { Worker(shared).run(); });
  }
  Worker(shared).run();
  for (std::thread& thread : threads) thread.join();
  if (shared.stop) throw LaunchFailure(shared.failure);
}

}  // namespace roofgate::sim
