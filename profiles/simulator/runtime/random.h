// The pseudo-random numbers of seeded schedules.
#pragma once

#include <cstdint>

namespace roofgate::sim {

// splitmix64 (Steele, Lea and Flood, OOPSLA 2014)
inline uint64_t next_random(uint64_t& state) {
  uint64_t value = state += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace roofgate::sim
