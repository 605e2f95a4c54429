#include "global_shadow.h"

#include <thread>

#include "findings.h"

namespace roofgate::sim {
namespace {

// Reads by many blocks are summed up: see record_other.
constexpr size_t kKeptAccesses = 4;

std::atomic<uint64_t> next_generation = 1;

// Pages that a thread used, so that it seldom takes a stripe's lock.
struct CachedPage {
  uint64_t generation = 0;
  uint64_t number = 0;
  void* page = nullptr;
};
constexpr size_t kCachedPages = 256;
thread_local CachedPage cached_pages[kCachedPages];

class SpinGuard {
 public:
  explicit SpinGuard(std::atomic_flag& flag) : flag_(flag) {
    while (flag_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  ~SpinGuard() { flag_.clear(std::memory_order_release); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  std::atomic_flag& flag_;
};

const char* action_of(const Mark& mark) {
  if (mark.strong) return mark.writes ? "atomic" : "volatile or atomic read";
  return mark.writes ? "write" : "read";
}

Dim3 block_index(const Dim3& grid, uint32_t number) {
  return {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
}

}  // namespace

// One access, and where and by whom it is reported.
struct GlobalShadow::Query {
  Warp& warp;
  const Instruction& instruction;
  LaneMask lanes;
  const char* action;
  Mark mark;
  Observer observer;
  const VectorClock* async_clock;  // of a read by the asynchronous proxy; else nullptr
};

GlobalShadow::GlobalShadow() : generation_(next_generation++) {}

GlobalShadow::Page& GlobalShadow::page_of(uint64_t address) {
  const uint64_t number = address / kPageBytes;
  CachedPage& cached = cached_pages[number % kCachedPages];
  if (cached.generation == generation_ && cached.number == number) {
    return *static_cast<Page*>(cached.page);
  }
  Stripe& stripe = stripes_[number % kStripes];
  const std::lock_guard lock(stripe.mutex);
  std::unique_ptr<Page>& page = stripe.pages[number];
  if (!page) page = std::make_unique<Page>();
  cached = {generation_, number, page.get()};
  return *page;
}

Party GlobalShadow::party_of(const Warp& observer, const Mark& mark) {
  const Launch& launch = launch_of(observer);
  const size_t warps = observer.block->warps.size();
  if (mark.agent >= observer.block->cluster->blocks.size() * warps) {
    const std::lock_guard lock(actors_mutex_);
    return actors_[{mark.cluster, mark.agent, uint32_t{mark.site}}];
  }
  const auto rank = static_cast<uint32_t>(mark.agent / warps);
  const Dim3 first = block_index(launch.grid, mark.cluster);
  const Dim3 offset = block_index(launch.cluster, rank);
  return {mark.site,
          {first.x + offset.x, first.y + offset.y, first.z + offset.z},
          static_cast<uint32_t>(mark.agent % warps),
          mark.lane == kUnknownLane ? -1 : static_cast<int>(mark.lane),
          action_of(mark)};
}

void GlobalShadow::report_race(const Query& query, const Mark& other, uint64_t address,
                               uint32_t bytes) {
  const Party party = party_of(query.warp, other);
  const bool same_block = party.block.x == query.warp.block->index.x &&
                          party.block.y == query.warp.block->index.y &&
                          party.block.z == query.warp.block->index.z;
  std::string message =
      std::string("the ") + query.action + " is not ordered after the " + party.action;
  message += same_block
                 ? " by warp " + std::to_string(party.warp) + " of the block"
                 : " by block (" + std::to_string(party.block.x) + ", " +
                       std::to_string(party.block.y) + ", " + std::to_string(party.block.z) + ")";
  message += " at {site " + std::to_string(other.site) + "}";
  report(query.warp, query.instruction,
         {Check::kGlobalRace, message, query.lanes, Space::kGlobal, address, bytes, party});
}

void GlobalShadow::report_proxy(const Query& query, const Mark& other, uint64_t address,
                                uint32_t bytes) {
  const std::string message = std::string("the ") + query.action +
                              " may not see the write at {site " + std::to_string(other.site) +
                              "}: fence.proxy.async is missing between them";
  report(query.warp, query.instruction,
         {Check::kProxyFence, message, query.lanes, Space::kGlobal, address, bytes,
          party_of(query.warp, other)});
}

void GlobalShadow::check_cells(const Query& query, Page& page, uint64_t address, uint32_t bytes) {
  bool reported = false;
  const auto look = [&](const Cell& cell) {
    if (reported) return;
    if (const Mark* const other = find_conflict(cell, query.mark, query.observer)) {
      reported = true;
      return report_race(query, *other, address, bytes);
    }
    const Mark& writer = cell.writer;
    const bool may_be_stale = query.async_clock && writer.exists() && writer.generic_proxy &&
                              writer.cluster == query.mark.cluster;
    if (may_be_stale && (*query.async_clock)[writer.agent] < writer.time) {
      reported = true;
      report_proxy(query, writer, address, bytes);
    }
  };
  const auto offset = static_cast<uint32_t>(address % kPageBytes);
  const SpinGuard guard(page.busy);
  Cell* const cell = query.async_clock ? nullptr : page.cells.find(offset, bytes);
  if (cell && !find_conflict(*cell, query.mark, query.observer)) {
    if (query.mark.writes && !query.mark.strong) return record_write(*cell, query.mark);
    return record_other(*cell, query.mark, kKeptAccesses);
  }
  if (query.mark.writes && !query.mark.strong) {
    page.cells.replace(offset, bytes, look, [&](Cell& cell) { record_write(cell, query.mark); });
    return;
  }
  page.cells.each(offset, bytes, [&](Cell& cell) {
    look(cell);
    record_other(cell, query.mark, kKeptAccesses);
  });
}

void GlobalShadow::check(const Query& query, uint64_t address, uint32_t bytes) {
  while (bytes) {
    const uint64_t room = kPageBytes - address % kPageBytes;
    const auto part = static_cast<uint32_t>(std::min<uint64_t>(bytes, room));
    check_cells(query, page_of(address), address, part);
    address += part;
    bytes -= part;
  }
}

void GlobalShadow::access(Warp& warp, const Instruction& instruction, int lane, uint64_t address,
                          uint32_t bytes, Access kind) {
  const Mark mark{.cluster = cluster_number(warp),
                  .agent = warp.agent,
                  .time = warp.clock[warp.agent],
                  .site = instruction.site,
                  .lane = static_cast<uint32_t>(lane),
                  .strong = kind != Access::kRead && kind != Access::kWrite,
                  .writes = kind != Access::kRead && kind != Access::kStrongRead};
  const Observer observer{mark.cluster, warp.clock, warp.remote};
  check({warp, instruction, LaneMask{1} << lane, action_of(mark), mark, observer, nullptr}, address,
        bytes);
}

void GlobalShadow::access(const AsyncAccess& access, uint64_t address, uint32_t bytes,
                          Access kind) {
  Warp& warp = *access.warp;
  const int lane = access.issuer.lane;
  const Mark mark{.cluster = cluster_number(warp),
                  .agent = access.agent,
                  .time = access.time,
                  .site = access.instruction->site,
                  .lane = lane < 0 ? kUnknownLane : static_cast<uint32_t>(lane),
                  .strong = kind == Access::kAtomic,
                  .writes = kind != Access::kRead,
                  .generic_proxy = false};
  {
    const std::lock_guard lock(actors_mutex_);
    actors_.insert_or_assign({mark.cluster, mark.agent, uint32_t{mark.site}}, access.issuer);
  }
  const Observer observer{mark.cluster, access.issuer_clock, warp.remote};
  const LaneMask lanes = lane < 0 ? 0 : LaneMask{1} << lane;
  check({warp, *access.instruction, lanes, access.issuer.action.c_str(), mark, observer,
         kind == Access::kRead ? &access.clock : nullptr},
        address, bytes);
}

void async_global(const AsyncAccess& access, uint64_t address, uint32_t bytes, Access kind) {
  GlobalShadow* const shadow = launch_of(*access.warp).global_shadow.get();
  if (shadow) shadow->access(access, address, bytes, kind);
}

}  // namespace roofgate::sim
