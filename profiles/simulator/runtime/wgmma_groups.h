// Warpgroup products of one warp that are under way.
#pragma once
namespace roofgate::sim {
struct WgmmaGroups {};
}  // namespace roofgate::sim
