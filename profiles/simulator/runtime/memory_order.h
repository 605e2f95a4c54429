// How strong accesses order others: PTX ISA, "Memory Consistency Model".
#pragma once

#include <cstdint>

#include "warp_memory.h"

namespace roofgate::sim {

// Bits that say how an access takes part in ordering; 0 for a weak one.
constexpr int64_t kStrong = 1;  // volatile, relaxed, atomic, and all with:
constexpr int64_t kAcquire = 2;
constexpr int64_t kRelease = 4;

// To be called before and after the lanes access these places with that order. On several threads
// of the host, who reads a value must find what was passed on with it: so it is passed on before
// the value is written, and looked for after it was read. Both do nothing unless races are checked.
void pass_on(const Request& request, const Places& places, int64_t order);
void take_over(const Request& request, const Places& places, int64_t order);

}  // namespace roofgate::sim
