// Asynchronous copies of one warp that are under way.
#pragma once
namespace roofgate::sim {
struct CopyGroups {};
}  // namespace roofgate::sim
