// How strong accesses order others: PTX ISA, "Memory Consistency Model".
#pragma once

#include <cstdint>

#include "warp_memory.h"

namespace roofgate::sim {

// Bits that say how an access takes part in ordering; 0 for a weak one.
constexpr int64_t kStrong = 1;   // volatile, relaxed, atomic, and all with:
constexpr int64_t kAcquire = 2;
constexpr int64_t kRelease = 4;

// The lanes have accessed these places with that order. Does nothing unless races are checked.
void order_accesses(const Request& request, const Places& places, int64_t order);

}  // namespace roofgate::sim
