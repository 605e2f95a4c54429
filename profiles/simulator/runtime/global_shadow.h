// The history of global memory during one launch: races between blocks and between warps.
//
// Blocks of different clusters are in order only through variables that one releases and another
// acquires. Blocks run on several threads: every page of the shadow has a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "shadow_cells.h"
#include "sync_clock.h"

namespace roofgate::sim {

class GlobalShadow {
 public:
  GlobalShadow();

  // An ordinary access by one lane, of bytes that exist. Reports a race.
  void access(Warp& warp, const Instruction& instruction, int lane, uint64_t address,
              uint32_t bytes, Access kind);
  void access(const AsyncAccess& access, uint64_t address, uint32_t bytes, Access kind);

  // Runs action(variables) while no other thread does.
  template <class Action>
  void with_variables(Action action) {
    const std::lock_guard lock(variables_mutex_);
    action(variables_);
  }

 private:
  static constexpr uint32_t kPageBytes = 1 << 16;
  static constexpr size_t kStripes = 64;

  struct Page {
    std::atomic_flag busy;  // held only for a few cells
    ShadowCells cells{kPageBytes};
  };

  struct Stripe {
    std::mutex mutex;
    std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
  };

  struct Query;

  Page& page_of(uint64_t address);
  void check(const Query& query, uint64_t address, uint32_t bytes);
  void check_cells(const Query& query, Page& page, uint64_t address, uint32_t bytes);
  void report_race(const Query& query, const Mark& other, uint64_t address, uint32_t bytes);
  void report_proxy(const Query& query, const Mark& other, uint64_t address, uint32_t bytes);
  Party party_of(const Warp& observer, const Mark& mark);

  const uint64_t generation_;  // tells shadows apart in the threads' caches of pages
  std::array<Stripe, kStripes> stripes_;
  std::mutex variables_mutex_;
  SyncVariables variables_;
  std::mutex actors_mutex_;
  std::map<std::tuple<uint32_t, uint32_t, uint32_t>, Party> actors_;  // cluster, agent, site
};

}  // namespace roofgate::sim
