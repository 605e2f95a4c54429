// Requests to memory by the lanes of a warp together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lanes.h"
#include "memory.h"
#include "warp.h"

namespace roofgate::sim {

// What one instruction asks of memory: each of `lanes` accesses `bytes` bytes, aligned to that.
struct Request {
  Warp& warp;
  const Instruction& instruction;
  LaneMask lanes;
  uint32_t bytes;  // a power of two, at most 16
  Access access;
};

using Places = Lanes<std::byte*>;

// Each counts the request, makes all checks of access_shared and its like, and writes where the
// bytes of the lanes lie.
void request_shared(const Request& request, const Lanes<uint32_t>& addresses, Places& places);
void request_global(const Request& request, const Lanes<uint64_t>& addresses, Places& places);
void request_generic(const Request& request, const Lanes<uint64_t>& addresses, Places& places);

// Neither is counted, nor are there races.
void request_constant(const Request& request, const Lanes<uint64_t>& addresses, Places& places);
void request_local(const Request& request, const Lanes<uint32_t>& addresses, Places& places);
void request_parameter(const Request& request, const Lanes<uint32_t>& addresses, Places& places);

// The space that a generic address lies in.
Space space_of(uint64_t address);

}  // namespace roofgate::sim
