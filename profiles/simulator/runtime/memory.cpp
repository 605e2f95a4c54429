#include "memory.h"

#include <cstdio>

#include "global_shadow.h"
#include "shadow.h"
#include "warp_memory.h"

namespace roofgate::sim {
namespace {

constexpr int kWindowShift = 56;
constexpr uint32_t kSharedOffset = (uint32_t{1} << kClusterRankShift) - 1;

const char* verb(Access access) {
  switch (access) {
    case Access::kRead:
    case Access::kStrongRead:
      return "reads";
    case Access::kWrite:
    case Access::kStrongWrite:
      return "writes";
    case Access::kAtomic:
      return "atomically changes";
  }
  return "";
}

std::string hexadecimal(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string action_in_words(const Request& request) {
  return std::string(verb(request.access)) + " " + std::to_string(request.bytes) +
         (request.bytes == 1 ? " byte" : " bytes");
}

LaneMask one_lane(int lane) { return LaneMask{1} << lane; }

[[noreturn]] void fail_bounds(const Request& request, int lane, Space space, uint64_t address,
                              const std::string& where) {
  fail(request.warp, request.instruction,
       {Check::kOutOfBounds, action_in_words(request) + " out of bounds: " + where, one_lane(lane),
        space, address, request.bytes});
}

[[noreturn]] void fail_alignment(const Request& request, int lane, Space space, uint64_t address) {
  const std::string size = std::to_string(request.bytes);
  fail(request.warp, request.instruction,
       {Check::kMisaligned,
        action_in_words(request) + " at an address that is no multiple of " + size, one_lane(lane),
        space, address, request.bytes});
}

bool is_misaligned(uint64_t address, uint32_t bytes) { return address & (bytes - 1); }

std::string describe_offset(uint64_t offset, uint32_t bytes, uint64_t size, const char* memory) {
  const std::string total = std::string(memory) + " of " + std::to_string(size) + " B";
  if (offset >= size) {
    return std::to_string(offset - size) + " bytes past the end of the " + total;
  }
  return std::to_string(offset + bytes - size) + " of them behind the end of the " + total;
}

bool checks_races(const Warp& warp) { return launch_of(warp).options.check_races; }

// --- shared memory ---

std::byte* shared_lane(const Request& request, int lane, uint32_t address) {
  const auto [owner, offset] = shared_place(request.warp, request.instruction, address);
  if (is_misaligned(offset, request.bytes)) {
    fail_alignment(request, lane, Space::kShared, address);
  }
  if (uint64_t{offset} + request.bytes > owner->shared_bytes) {
    fail_bounds(request, lane, Space::kShared, address,
                describe_offset(offset, request.bytes, owner->shared_bytes, "shared memory"));
  }
  if (owner->shadow) {
    owner->shadow->access(request.warp, request.instruction, lane, *owner, offset, request.bytes,
                          request.access);
  }
  return owner->shared + offset;
}

// Whether all addresses are offsets in the block's own memory that need no further look.
bool all_plain(const Request& request, const Lanes<uint32_t>& addresses) {
  const uint32_t size = request.warp.block->shared_bytes;
  if (size < request.bytes) return false;
  const uint32_t last = size - request.bytes;
  uint32_t bad = 0;
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t wrong = (addresses[l] > last) | ((addresses[l] & (request.bytes - 1)) != 0);
    bad |= has_lane(request.lanes, l) ? wrong : 0;
  }
  return !bad;
}

// --- global memory ---

const Allocation& global_allocation(const Request& request, int lane, uint64_t address) {
  const Allocation* const allocation = find_allocation(address, request.bytes);
  if (!allocation) {
    fail_bounds(request, lane, Space::kGlobal, address, describe_address(address));
  }
  return *allocation;
}

std::byte* global_lane(const Request& request, int lane, uint64_t address) {
  if (is_misaligned(address, request.bytes)) {
    fail_alignment(request, lane, Space::kGlobal, address);
  }
  global_allocation(request, lane, address);
  if (GlobalShadow* const shadow = launch_of(request.warp).global_shadow.get()) {
    shadow->access(request.warp, request.instruction, lane, address, request.bytes, request.access);
  }
  return reinterpret_cast<std::byte*>(address);
}

// Whether all addresses are aligned and lie in one allocation: then none needs a further look.
bool in_one_allocation(const Request& request, const Lanes<uint64_t>& addresses) {
  uint64_t lowest = ~uint64_t{0}, highest = 0, bits = 0;
  for (int l = 0; l < kLanes; ++l) {
    const bool counts = has_lane(request.lanes, l);
    lowest = counts && addresses[l] < lowest ? addresses[l] : lowest;
    highest = counts && addresses[l] > highest ? addresses[l] : highest;
    bits |= counts ? addresses[l] : 0;
  }
  return !is_misaligned(bits, request.bytes) &&
         find_allocation(lowest, highest - lowest + request.bytes);
}

void copy_addresses(const Request& request, const Lanes<uint64_t>& addresses, Places& places) {
  write_lanes(places, request.lanes,
              [&](int l) { return reinterpret_cast<std::byte*>(addresses[l]); });
}

// --- generic addresses ---

Lanes<uint32_t> narrow(const Lanes<uint64_t>& addresses) {
  Lanes<uint32_t> result;
  for (int l = 0; l < kLanes; ++l) result[l] = static_cast<uint32_t>(addresses[l]);
  return result;
}

void request_window(const Request& request, Space space, const Lanes<uint64_t>& addresses,
                    Places& places) {
  switch (space) {
    case Space::kShared:
      return request_shared(request, narrow(addresses), places);
    case Space::kLocal:
      return request_local(request, narrow(addresses), places);
    case Space::kParameter:
      return request_parameter(request, narrow(addresses), places);
    default:
      return request_global(request, addresses, places);
  }
}

// The checks of one lane of memory that is nobody else's.
std::byte* private_lane(const Request& request, int lane, uint32_t offset, Space space,
                        std::byte* memory, uint64_t size) {
  if (is_misaligned(offset, request.bytes)) fail_alignment(request, lane, space, offset);
  if (uint64_t{offset} + request.bytes > size) {
    const char* const name = space == Space::kLocal ? "local memory" : "kernel parameters";
    fail_bounds(request, lane, space, offset, describe_offset(offset, request.bytes, size, name));
  }
  return memory + offset;
}

}  // namespace

SharedPlace shared_place(Warp& warp, const Instruction& instruction, uint32_t address) {
  const uint32_t rank = address >> kClusterRankShift;
  if (rank == 0) return {warp.block, address};
  const auto& blocks = warp.block->cluster->blocks;
  const auto refuse = [&](const std::string& reason) {
    fail(warp, instruction, {Check::kOutOfBounds, reason, warp.executing, Space::kShared, address});
  };
  if (rank > blocks.size()) {
    refuse("shared address " + hexadecimal(address) + " belongs to no block: expected an offset " +
           "in the block's memory, or what mapa gives for one of " + std::to_string(blocks.size()) +
           " blocks of the cluster");
  }
  Block* const owner = blocks[rank - 1].get();
  if (owner != warp.block && owner->live_lanes == 0) {
    refuse("the block of rank " + std::to_string(rank - 1) +
           " has ended, and its shared memory with it; it has to wait for those who use it");
  }
  return {owner, address & kSharedOffset};
}

Space space_of(uint64_t address) {
  switch (address >> kWindowShift) {
    case kSharedWindow >> kWindowShift:
      return Space::kShared;
    case kLocalWindow >> kWindowShift:
      return Space::kLocal;
    case kParameterWindow >> kWindowShift:
      return Space::kParameter;
    default:
      return Space::kGlobal;
  }
}

std::byte* access_shared(Warp& warp, const Instruction& instruction, int lane, uint32_t address,
                         uint32_t bytes, Access access) {
  return shared_lane({warp, instruction, one_lane(lane), bytes, access}, lane, address);
}

std::byte* access_global(Warp& warp, const Instruction& instruction, int lane, uint64_t address,
                         uint32_t bytes, Access access) {
  return global_lane({warp, instruction, one_lane(lane), bytes, access}, lane, address);
}

std::byte* access_generic(Warp& warp, const Instruction& instruction, int lane, uint64_t address,
                          uint32_t bytes, Access access) {
  switch (space_of(address)) {
    case Space::kShared:
      return access_shared(warp, instruction, lane, static_cast<uint32_t>(address), bytes, access);
    case Space::kGlobal:
      return access_global(warp, instruction, lane, address, bytes, access);
    default: {
      Lanes<uint64_t> addresses;
      addresses[lane] = address;
      Places places;
      request_generic({warp, instruction, one_lane(lane), bytes, access}, addresses, places);
      return places[lane];
    }
  }
}

void request_shared(const Request& request, const Lanes<uint32_t>& addresses, Places& places) {
  count_shared(request.warp, request.instruction, addresses, request.lanes, request.bytes);
  if (!checks_races(request.warp) && all_plain(request, addresses)) {
    std::byte* const shared = request.warp.block->shared;
    write_lanes(places, request.lanes, [&](int l) { return shared + addresses[l]; });
    return;
  }
  each_lane(request.lanes, [&](int l) { places[l] = shared_lane(request, l, addresses[l]); });
}

void request_global(const Request& request, const Lanes<uint64_t>& addresses, Places& places) {
  count_global(request.warp, request.instruction, addresses, request.lanes, request.bytes);
  if (!checks_races(request.warp) && in_one_allocation(request, addresses)) {
    copy_addresses(request, addresses, places);
    return;
  }
  each_lane(request.lanes, [&](int l) { places[l] = global_lane(request, l, addresses[l]); });
}

void request_generic(const Request& request, const Lanes<uint64_t>& addresses, Places& places) {
  LaneMask rest = request.lanes;
  while (rest) {
    const Space space = space_of(addresses[first_lane(rest)]);
    Request part = request;
    part.lanes = lanes_where(rest, [&](int l) { return space_of(addresses[l]) == space; });
    request_window(part, space, addresses, places);
    rest &= ~part.lanes;
  }
}

void request_constant(const Request& request, const Lanes<uint64_t>& addresses, Places& places) {
  copy_addresses(request, addresses, places);
  if (in_one_allocation(request, addresses)) return;
  each_lane(request.lanes, [&](int l) {
    if (is_misaligned(addresses[l], request.bytes)) {
      fail_alignment(request, l, Space::kGlobal, addresses[l]);
    }
    global_allocation(request, l, addresses[l]);
  });
}

void request_local(const Request& request, const Lanes<uint32_t>& addresses, Places& places) {
  const uint64_t size = launch_of(request.warp).program->local_bytes;
  each_lane(request.lanes, [&](int l) {
    places[l] =
        private_lane(request, l, addresses[l], Space::kLocal, request.warp.local + l * size, size);
  });
}

void request_parameter(const Request& request, const Lanes<uint32_t>& addresses, Places& places) {
  auto& parameters = launch_of(request.warp).parameters;
  each_lane(request.lanes, [&](int l) {
    places[l] = private_lane(request, l, addresses[l], Space::kParameter, parameters.data(),
                             parameters.size());
  });
}

}  // namespace roofgate::sim
