// Lanes of one warp are taken to be in the order of its instructions: what diverged lanes would
// need bar.warp.sync for is not checked.
#include "shadow.h"

#include "findings.h"

namespace roofgate::sim {
namespace {

// Clocks of a cluster need not tell clusters apart.
constexpr uint32_t kOwnCluster = 0;
constexpr size_t kNoLimit = ~size_t{0};
const RemoteClocks kNothingRemote;

bool writes(Access kind) { return kind != Access::kRead && kind != Access::kStrongRead; }
bool reads(Access kind) { return kind != Access::kWrite && kind != Access::kStrongWrite; }
bool is_strong(Access kind) { return kind != Access::kRead && kind != Access::kWrite; }

// cp.async writes as ordinary instructions do; all other asynchronous accesses are made by the
// asynchronous proxy.
bool is_generic(const AsyncAccess& access) { return access.issuer.action == "cp.async"; }

Mark mark_of(const AsyncAccess& access, bool writes) {
  const int lane = access.issuer.lane;
  return {.agent = access.agent,
          .time = access.time,
          .site = access.instruction->site,
          .lane = lane < 0 ? kUnknownLane : static_cast<uint32_t>(lane),
          .writes = writes,
          .generic_proxy = is_generic(access)};
}

const VectorClock& clock_of(const AsyncAccess& access) {
  return is_generic(access) ? access.clock : access.issuer_clock;
}

bool is_in_order(const Cell& cell, const Mark& mark, const Observer& observer, bool reads) {
  return !cell.in_flight && (cell.initialised || !reads) && !find_conflict(cell, mark, observer);
}

const char* action_of(const Mark& mark) {
  if (mark.strong) return mark.writes ? "atomic" : "volatile or atomic read";
  return mark.writes ? "write" : "read";
}

}  // namespace

// One access, and where and by whom it is reported.
struct SharedShadow::Query {
  Warp& warp;
  const Instruction& instruction;
  const Block& owner;
  uint32_t offset;
  uint32_t bytes;
  LaneMask lanes;
  const char* action;
  Mark mark;
  Observer observer;
  bool reads;
  const VectorClock* async_clock;  // of an access by the asynchronous proxy; else nullptr
};

Party SharedShadow::party_of(const Query& query, const Mark& mark) const {
  const auto& blocks = query.warp.block->cluster->blocks;
  const size_t warps = query.owner.warps.size();
  if (mark.agent >= blocks.size() * warps) {
    const auto actor = actors_.find({mark.agent, mark.site});
    return actor == actors_.end() ? Party{} : actor->second.party;
  }
  const int lane = mark.lane == kUnknownLane ? -1 : static_cast<int>(mark.lane);
  return {mark.site, blocks[mark.agent / warps]->index, static_cast<uint32_t>(mark.agent % warps),
          lane, action_of(mark)};
}

// Whether who issued the asynchronous access has waited for it.
bool SharedShadow::is_awaited(const Mark& mark) const {
  const auto actor = actors_.find({mark.agent, mark.site});
  return actor == actors_.end() || actor->second.warp->clock[mark.agent] >= mark.time;
}

Finding SharedShadow::unordered(const Query& query, const Mark& other) const {
  Party party = party_of(query, other);
  const std::string there = " at {site " + std::to_string(other.site) + "}";
  Finding finding{Check::kSharedRace, ""};
  if (is_awaited(other)) {
    finding.message = std::string("the ") + query.action + " is not ordered after the " +
                      party.action + " by warp " + std::to_string(party.warp) + there +
                      ": a barrier or other synchronisation is missing";
  } else {
    const bool is_product = party.action.starts_with("wgmma");
    finding.check = is_product ? Check::kWgmma : Check::kCopyInFlight;
    finding.message = std::string("the ") + query.action + " touches bytes that the " +
                      party.action + there + (other.writes ? " still writes" : " still reads") +
                      ": it has to be waited for first";
  }
  finding.other = std::move(party);
  return finding;
}

// What is wrong with the access of this cell, if something is.
std::optional<Finding> SharedShadow::judge(const Query& query, const Cell& cell) const {
  if (cell.in_flight) return unordered(query, cell.writer);
  if (const Mark* const other = find_conflict(cell, query.mark, query.observer)) {
    return unordered(query, *other);
  }
  if (query.reads && !cell.initialised) {
    return Finding{Check::kUninitialisedShared, std::string("the ") + query.action +
                                                    " is of shared memory that nobody has written"};
  }
  const Mark& writer = cell.writer;
  const bool may_be_stale = query.async_clock && writer.exists() && writer.generic_proxy;
  if (may_be_stale && (*query.async_clock)[writer.agent] < writer.time) {
    Finding finding{Check::kProxyFence, std::string("the ") + query.action +
                                            " may not see the write at {site " +
                                            std::to_string(writer.site) +
                                            "}: fence.proxy.async is missing between them"};
    finding.other = party_of(query, writer);
    return finding;
  }
  return std::nullopt;
}

void SharedShadow::check(const Query& query, const Cell& cell, bool& reported) const {
  if (reported) return;
  std::optional<Finding> finding = judge(query, cell);
  if (!finding) return;
  reported = true;
  finding->lanes = query.lanes;
  finding->space = Space::kShared;
  finding->address = query.offset;
  finding->bytes = query.bytes;
  report(query.warp, query.instruction, std::move(*finding));
}

void SharedShadow::access(Warp& warp, const Instruction& instruction, int lane, Block& owner,
                          uint32_t offset, uint32_t bytes, Access kind) {
  const Mark mark{.agent = warp.agent,
                  .time = warp.clock[warp.agent],
                  .site = instruction.site,
                  .lane = static_cast<uint32_t>(lane),
                  .strong = is_strong(kind),
                  .writes = writes(kind)};
  const Observer observer{kOwnCluster, warp.clock, kNothingRemote};
  Cell* const cell = cells_.find(offset, bytes);
  if (cell && is_in_order(*cell, mark, observer, reads(kind))) {
    if (kind == Access::kWrite) return record_write(*cell, mark);
    cell->initialised |= mark.writes;
    return record_other(*cell, mark, kNoLimit);
  }
  access_any({warp, instruction, owner, offset, bytes, LaneMask{1} << lane, action_of(mark), mark,
              observer, reads(kind), nullptr});
}

// The same for any cells, with reports.
void SharedShadow::access_any(const Query& query) {
  bool reported = false;
  const auto look = [&](const Cell& cell) { check(query, cell, reported); };
  if (query.mark.writes && !query.mark.strong) {
    const auto update = [&](Cell& cell) { record_write(cell, query.mark); };
    return cells_.replace(query.offset, query.bytes, look, update);
  }
  cells_.each(query.offset, query.bytes, [&](Cell& cell) {
    look(cell);
    record_other(cell, query.mark, kNoLimit);
    cell.initialised |= query.mark.writes;
  });
}

void SharedShadow::remember(const AsyncAccess& access) {
  const std::pair key{access.agent, access.instruction->site};
  if (key == last_actor_) return;
  actors_.insert_or_assign(key, Actor{access.issuer, access.warp});
  last_actor_ = key;
}

SharedShadow::Query SharedShadow::query_of(const AsyncAccess& access, const Block& owner,
                                           uint32_t offset, uint32_t bytes, bool writes) {
  const LaneMask lanes = access.issuer.lane < 0 ? 0 : LaneMask{1} << access.issuer.lane;
  return {*access.warp,
          *access.instruction,
          owner,
          offset,
          bytes,
          lanes,
          access.issuer.action.c_str(),
          mark_of(access, writes),
          {kOwnCluster, clock_of(access), kNothingRemote},
          !writes,
          is_generic(access) ? nullptr : &access.clock};
}

void SharedShadow::begin_write(const AsyncAccess& access, Block& owner, uint32_t offset,
                               uint32_t bytes) {
  remember(access);
  const Mark mark = mark_of(access, true);
  Cell* const cell = is_generic(access) ? cells_.find(offset, bytes) : nullptr;
  if (cell && is_in_order(*cell, mark, {kOwnCluster, access.clock, kNothingRemote}, false)) {
    record_write(*cell, mark);
    cell->in_flight = true;
    return;
  }
  const Query query = query_of(access, owner, offset, bytes, true);
  bool reported = false;
  const auto look = [&](const Cell& cell) { check(query, cell, reported); };
  cells_.replace(offset, bytes, look, [&](Cell& cell) {
    record_write(cell, mark);
    cell.in_flight = true;
  });
}

void SharedShadow::end_write(const AsyncAccess& access, uint32_t offset, uint32_t bytes) {
  cells_.each(offset, bytes, [&](Cell& cell) {
    if (cell.writer.agent == access.agent && cell.writer.time == access.time) {
      cell.in_flight = false;
    }
  });
}

void SharedShadow::read(const AsyncAccess& access, Block& owner, uint32_t offset, uint32_t bytes) {
  remember(access);
  access_any(query_of(access, owner, offset, bytes, false));
}

void begin_async_write(const AsyncAccess& access, Block& block, uint32_t offset, uint32_t bytes) {
  if (block.shadow) block.shadow->begin_write(access, block, offset, bytes);
}

void end_async_write(const AsyncAccess& access, Block& block, uint32_t offset, uint32_t bytes) {
  if (block.shadow) block.shadow->end_write(access, offset, bytes);
}

void begin_async_read(const AsyncAccess& access, Block& block, uint32_t offset, uint32_t bytes) {
  if (block.shadow) block.shadow->read(access, block, offset, bytes);
}

}  // namespace roofgate::sim
