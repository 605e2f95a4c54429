// The history of one block's shared memory: who wrote and read each byte last, and whether an
// asynchronous access to it is under way.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "shadow_cells.h"
#include "sync_clock.h"

namespace roofgate::sim {

class SharedShadow {
 public:
  explicit SharedShadow(uint32_t bytes) : cells_(bytes) {}

  // An ordinary access by one lane, of bytes that exist. Reports what is wrong with it.
  void access(Warp& warp, const Instruction& instruction, int lane, Block& owner, uint32_t offset,
              uint32_t bytes, Access kind);

  void begin_write(const AsyncAccess& access, Block& owner, uint32_t offset, uint32_t bytes);
  void end_write(const AsyncAccess& access, uint32_t offset, uint32_t bytes);
  void read(const AsyncAccess& access, Block& owner, uint32_t offset, uint32_t bytes);

  // Variables in this memory that releases and acquires go through.
  SyncVariables variables;

 private:
  struct Actor {
    Party party;
    const Warp* warp;
  };

  struct Query;

  void check(const Query& query, const Cell& cell, bool& reported) const;
  std::optional<Finding> judge(const Query& query, const Cell& cell) const;
  Finding unordered(const Query& query, const Mark& other) const;
  bool is_awaited(const Mark& mark) const;
  Party party_of(const Query& query, const Mark& mark) const;
  void access_any(const Query& query);
  static Query query_of(const AsyncAccess& access, const Block& owner, uint32_t offset,
                        uint32_t bytes, bool writes);
  void remember(const AsyncAccess& access);

  ShadowCells cells_;
  // Who issued asynchronous accesses, by agent and site.
  std::map<std::pair<uint32_t, uint32_t>, Actor> actors_;
  std::pair<uint32_t, uint32_t> last_actor_ = {0, 0};
};

}  // namespace roofgate::sim
