// Bulk and tensor copies of one warp that are under way.
#pragma once
namespace roofgate::sim {
struct BulkGroups {};
}  // namespace roofgate::sim
