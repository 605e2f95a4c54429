// cp.async: copies of 4, 8 or 16 bytes by each lane from global to shared memory.
//
// Nothing tells a thread that its copies have arrived but waiting for them. So the bytes arrive as
// late as possible, when a wait asks for them, the oldest first; a kernel that forgets the wait
// reads old bytes or, with races checked, a pattern that is NaN in every format, and is told so.
// The source is read as late too, but counts as read when the copy starts.
//
// Copies that nobody waits for never arrive: no correct kernel can tell.
//
// Who waits for a copy is taken to have seen all earlier copies of the warp; only if lanes diverge
// between commits does that say too much, and copies that have not arrived are in flight
// nevertheless.
//
// Counters: a request with its sectors of global memory (16 bytes aligned to 16 never touch two),
// the wavefronts of the shared side, and the bytes that are read.
#include <cstring>
#include <string>

#include "shared_addresses.h"
#include "warp_memory.h"

namespace roofgate::sim {
namespace {

constexpr int kPoison = 0xff;

// --- start ---

// Operands after the shared address.
enum Operand { kSource = kSharedOperands, kSourceOffset, kBytes, kReadBytes, kIgnore, kNegated };

struct CopyRequest {
  Warp& warp;
  const Instruction& instruction;
  uint32_t bytes;          // written by each lane
  Lanes<uint32_t> read;    // bytes
  Lanes<uint32_t> target;  // address, then offset in the block's own memory
  Lanes<uint64_t> source;
  Places places;  // of the source
};

CopyRequest read_request(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  CopyRequest request{warp,
                      instruction,
                      static_cast<uint32_t>(operands[kBytes]),
                      warp.lanes<uint32_t>(operands[kReadBytes]),
                      shared_addresses(warp, instruction, 0, warp.executing),
                      {},
                      {}};
  const Lanes<uint64_t>& source = warp.lanes<uint64_t>(operands[kSource]);
  for (int l = 0; l < kLanes; ++l) request.source[l] = source[l] + operands[kSourceOffset];
  return request;
}

[[noreturn]] void fail_lane(const CopyRequest& request, int lane, Check check, Space space,
                            const std::string& message) {
  const bool is_target = space == Space::kShared;
  const uint64_t address = is_target ? request.target[lane] : request.source[lane];
  const uint32_t bytes = is_target ? request.bytes : request.read[lane];
  fail(request.warp, request.instruction,
       {check, message, LaneMask{1} << lane, space, address, bytes});
}

[[noreturn]] void fail_alignment(const CopyRequest& request, int lane, Space space) {
  fail_lane(request, lane, Check::kMisaligned, space,
            "both addresses of a copy of " + std::to_string(request.bytes) +
                " bytes must be aligned to its size");
}

uint32_t target_offset(const CopyRequest& request, int lane) {
  const uint32_t address = request.target[lane];
  if (address % request.bytes) fail_alignment(request, lane, Space::kShared);
  Block* const own = request.warp.block;
  const auto [block, offset] = shared_place(request.warp, request.instruction, address);
  if (block != own) {
    fail_lane(request, lane, Check::kOutOfBounds, Space::kShared,
              "cp.async writes to the shared memory of its own block only");
  }
  if (uint64_t{offset} + request.bytes > own->shared_bytes) {
    fail_lane(request, lane, Check::kOutOfBounds, Space::kShared,
              "a copy of " + std::to_string(request.bytes) + " bytes to offset " +
                  std::to_string(offset) + " of " + std::to_string(own->shared_bytes) +
                  " bytes of shared memory");
  }
  return offset;
}

void check_targets(CopyRequest& request) {
  const uint64_t size = request.warp.block->shared_bytes;
  const LaneMask questionable = lanes_where(request.warp.executing, [&](int l) {
    const uint32_t address = request.target[l];
    return (address & (request.bytes - 1)) != 0 || uint64_t{address} + request.bytes > size;
  });
  each_lane(questionable, [&](int lane) { request.target[lane] = target_offset(request, lane); });
}

[[noreturn]] void fail_source(const CopyRequest& request, int lane) {
  if (request.source[lane] % request.bytes) fail_alignment(request, lane, Space::kGlobal);
  fail_lane(request, lane, Check::kOutOfBounds, Space::kGlobal,
            "reads " + std::to_string(request.read[lane]) + " bytes for a copy of " +
                std::to_string(request.bytes));
}

// Reads that are no power of two go in pieces that are, and so are aligned.
std::byte* access_pieces(const CopyRequest& request, int lane) {
  const uint64_t source = request.source[lane];
  const uint32_t bytes = request.read[lane];
  for (uint32_t done = 0; done < bytes;) {
    const uint32_t piece = 1u << (31 - __builtin_clz(bytes - done));
    access_global(request.warp, request.instruction, lane, source + done, piece, Access::kRead);
    done += piece;
  }
  return reinterpret_cast<std::byte*>(source);
}

void check_sources(CopyRequest& request) {
  Warp& warp = request.warp;
  const Instruction& instruction = request.instruction;
  const LaneMask wrong = lanes_where(warp.executing, [&](int l) {
    return (request.source[l] & (request.bytes - 1)) != 0 || request.read[l] > request.bytes;
  });
  each_lane(wrong, [&](int lane) { fail_source(request, lane); });
  const LaneMask reading = lanes_where(warp.executing, [&](int l) { return request.read[l] > 0; });
  const LaneMask whole =
      lanes_where(warp.executing, [&](int l) { return request.read[l] == request.bytes; });
  if (whole == reading) {
    request_global({warp, instruction, reading, request.bytes, Access::kRead}, request.source,
                   request.places);
    return;
  }
  count_global(warp, instruction, request.source, reading, request.bytes);
  each_lane(reading, [&](int lane) { request.places[lane] = access_pieces(request, lane); });
}

void count_target(const CopyRequest& request) {
  Warp& warp = request.warp;
  if (!launch_of(warp).options.count) return;
  SiteCounters& site = counters_of(warp, request.instruction);
  site.wavefronts += shared_wavefronts(request.target, warp.executing, request.bytes);
  each_lane(warp.executing, [&](int lane) { site.bytes += request.read[lane]; });
}

std::shared_ptr<AsyncAccess> access_at(Warp& warp, const Instruction& instruction, uint32_t time) {
  CopyGroups& groups = warp.copies;
  if (!groups.agent) groups.agent = new_agent(*warp.block->cluster);
  AsyncAccess access;
  access.agent = *groups.agent;
  access.time = time;
  access.clock = warp.clock;
  access.issuer_clock = warp.clock;
  access.issuer = {instruction.site, warp.block->index, warp.index, -1, "cp.async"};
  access.warp = &warp;
  access.instruction = &instruction;
  return std::make_shared<AsyncAccess>(std::move(access));
}

void mark_in_flight(Warp& warp, const Instruction& instruction, StartedCopy& copy) {
  Block& block = *warp.block;
  if (!block.shadow) return;
  copy.access = access_at(warp, instruction, copy.time);
  each_lane(copy.lanes, [&](int lane) {
    copy.access->issuer.lane = lane;
    begin_async_write(*copy.access, block, copy.target[lane], copy.bytes);
    std::memset(block.shared + copy.target[lane], kPoison, copy.bytes);
  });
}

LaneMask lanes_with_open_group(const Warp& warp, LaneMask lanes, uint32_t group) {
  return lanes_where(lanes, [&](int l) { return warp.copies.committed[l] == group; });
}

Status start(CopyRequest request) {
  Warp& warp = request.warp;
  check_targets(request);
  check_sources(request);
  count_target(request);
  for (LaneMask rest = warp.executing; rest;) {
    StartedCopy& copy = warp.copies.started.emplace_back();
    copy.group = warp.copies.committed[first_lane(rest)];
    copy.lanes = lanes_with_open_group(warp, rest, copy.group);
    copy.time = ++warp.copies.time;
    copy.bytes = request.bytes;
    copy.read = request.read;
    copy.target = request.target;
    copy.source = request.places;
    mark_in_flight(warp, request.instruction, copy);
    rest &= ~copy.lanes;
  }
  return Status::kNext;
}

Status copy(Warp& warp, const Instruction& instruction) {
  return start(read_request(warp, instruction));
}

// Lanes for which the predicate holds read nothing and write zeros.
Status copy_unless(Warp& warp, const Instruction& instruction) {
  CopyRequest request = read_request(warp, instruction);
  const LaneMask holds = warp.predicate(instruction.operands[kIgnore]);
  const LaneMask ignored = instruction.operands[kNegated] ? ~holds : holds;
  each_lane(ignored, [&](int lane) { request.read[lane] = 0; });
  return start(request);
}

// --- arrival ---

template <size_t kBytes>
void land_whole(const StartedCopy& copy, LaneMask lanes, std::byte* shared) {
  each_lane(lanes, [&](int l) { std::memcpy(shared + copy.target[l], copy.source[l], kBytes); });
}

void land_part(const StartedCopy& copy, int lane, std::byte* shared) {
  std::byte* const target = shared + copy.target[lane];
  const uint32_t read = copy.read[lane];
  if (read) std::memcpy(target, copy.source[lane], read);
  std::memset(target + read, 0, copy.bytes - read);
}

void write_bytes(const StartedCopy& copy, LaneMask lanes, std::byte* shared) {
  const LaneMask whole = lanes_where(lanes, [&](int l) { return copy.read[l] == copy.bytes; });
  if (copy.bytes == 16) land_whole<16>(copy, whole, shared);
  if (copy.bytes == 8) land_whole<8>(copy, whole, shared);
  if (copy.bytes == 4) land_whole<4>(copy, whole, shared);
  each_lane(lanes & ~whole, [&](int lane) { land_part(copy, lane, shared); });
}

void land(Block& block, StartedCopy& copy, LaneMask lanes) {
  write_bytes(copy, lanes, block.shared);
  copy.lanes &= ~lanes;
  if (!copy.access) return;
  each_lane(lanes,
            [&](int lane) { end_async_write(*copy.access, block, copy.target[lane], copy.bytes); });
}

// `due(copy)` says for which lanes of a copy the bytes are to arrive. Returns the latest of these
// copies.
template <class Due>
uint32_t land_due(Warp& warp, Due due) {
  uint32_t latest = 0;
  std::vector<StartedCopy>& started = warp.copies.started;
  for (StartedCopy& copy : started) {
    const LaneMask lanes = copy.lanes & due(copy);
    if (!lanes) continue;
    land(*warp.block, copy, lanes);
    latest = copy.time;
  }
  std::erase_if(started, [](const StartedCopy& copy) { return !copy.lanes; });
  return latest;
}

// The warp has waited for its copies up to `time`.
void see_copies(Warp& warp, uint32_t time) {
  const std::optional<uint32_t> agent = warp.copies.agent;
  if (agent && warp.clock[*agent] < time) warp.clock.set(*agent, time);
}

Status commit(Warp& warp, const Instruction&) {
  each_lane(warp.executing, [&](int lane) { ++warp.copies.committed[lane]; });
  return Status::kNext;
}

// All but the latest `pending` committed groups of each lane.
Status wait_group(Warp& warp, const Instruction& instruction) {
  const auto pending = static_cast<uint64_t>(instruction.operands[0]);
  const uint32_t latest = land_due(warp, [&](const StartedCopy& copy) {
    return lanes_where(warp.executing,
                       [&](int l) { return copy.group + pending < warp.copies.committed[l]; });
  });
  see_copies(warp, latest);
  return Status::kNext;
}

Status wait_all(Warp& warp, const Instruction&) {
  see_copies(warp, land_due(warp, [&](const StartedCopy&) { return warp.executing; }));
  return Status::kNext;
}

ROOFGATE_OPERATION("cp.async", copy);
ROOFGATE_OPERATION("cp.async.ignore", copy_unless);
ROOFGATE_OPERATION("cp.async.commit_group", commit);
ROOFGATE_OPERATION("cp.async.wait_group", wait_group);
ROOFGATE_OPERATION("cp.async.wait_all", wait_all);

}  // namespace

void land_copies(Warp& warp, LaneMask lanes, uint32_t time) {
  land_due(warp, [&](const StartedCopy& copy) { return copy.time <= time ? lanes : 0; });
}

}  // namespace roofgate::sim
