// Worker threads take clusters of blocks in order and run the warps of one until all have ended.
//
// The fixed schedule runs each warp until it stops. With a seed, warps have random priorities that
// change now and then (probabilistic concurrency testing: Burckhardt et al., ASPLOS 2010), turns
// are short, and copies land at random times; the same seed gives the same schedule on any number
// of threads, since every cluster has a random state of its own.
#include "scheduler.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "barriers.h"
#include "deadlock.h"
#include "findings.h"
#include "global_shadow.h"
#include "interpreter.h"
#include "mbarrier.h"
#include "random.h"
#include "resident.h"
#include "shadow.h"

namespace roofgate::sim {
namespace {

constexpr uint64_t kFixedTurn = 1 << 16;  // warp-instructions; ends only loops that wait for others
constexpr uint32_t kRandomTurn = 256;
// A cluster that takes longer may wait for blocks that have not started: others get a turn.
constexpr uint64_t kClusterTurn = 4'000'000;
constexpr size_t kResidentClusters = 128;
constexpr int kIdleRounds = 64;  // of answering polls with "no" before it is a deadlock

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

// What the workers of one launch share.
struct Shared {
  explicit Shared(Launch& launch)
      : launch(launch),
        order(cluster_order(launch)),
        registers(initial_registers(*launch.program)) {}

  Launch& launch;
  std::vector<uint64_t> order;  // of clusters
  std::vector<std::byte> registers;
  std::atomic<uint64_t> next = 0;
  std::atomic<uint64_t> executed = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;  // of the launch's counters and `failure`
  std::string failure;
};

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
    start(*resident, shared_.launch, shared_.registers, shared_.order[place], counters_.data());
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
    const auto place =
        cluster.pending.begin() + choose(cluster, static_cast<uint32_t>(cluster.pending.size()));
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
    if (resident.idle_rounds >= kIdleRounds) fail_deadlock(resident);
    bool polled = false;
    for (Warp* warp : resident.warps) {
      const std::vector<Wait> waits = warp->waits;
      for (const Wait& wait : waits) {
        if (wait.kind != WaitKind::kMbarrier) continue;
        polled = warp->poll_released = true;
        wake(*warp, wait.kind, wait.object);
      }
    }
    resident.known_progress = resident.cluster.progress;
    if (!polled) fail_deadlock(resident);
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

}  // namespace

uint32_t new_agent(Cluster& cluster) { return cluster.next_agent++; }

uint32_t choose(Cluster& cluster, uint32_t bound) {
  if (!cluster.launch->options.seed) return 0;
  return next_random(cluster.random_state) % bound;
}

void run_launch(Launch& launch) {
  Shared shared(launch);
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
