#include "special_registers.h"

#include <map>
#include <string_view>

#include "findings.h"

namespace roofgate::sim {
namespace {

using Value = uint32_t (*)(const Warp&, int lane);

uint32_t thread_number(const Warp& warp, int lane) { return warp.index * kLanes + lane; }

Dim3 cluster_index(const Warp& warp) {
  const Dim3 block = warp.block->index;
  const Dim3 cluster = launch_of(warp).cluster;
  return {block.x / cluster.x, block.y / cluster.y, block.z / cluster.z};
}

Dim3 cluster_count(const Warp& warp) {
  const Dim3 grid = launch_of(warp).grid;
  const Dim3 cluster = launch_of(warp).cluster;
  return {grid.x / cluster.x, grid.y / cluster.y, grid.z / cluster.z};
}

Dim3 index_in_cluster(const Warp& warp) {
  const Dim3 block = warp.block->index;
  const Dim3 cluster = launch_of(warp).cluster;
  return {block.x % cluster.x, block.y % cluster.y, block.z % cluster.z};
}

const std::map<std::string_view, Value>& values() {
  static const std::map<std::string_view, Value> table = {
      {"tid.x", [](const Warp& warp,
                   int lane) { return thread_number(warp, lane) % launch_of(warp).block.x; }},
      {"tid.y",
       [](const Warp& warp, int lane) {
         const Dim3& block = launch_of(warp).block;
         return thread_number(warp, lane) / block.x % block.y;
       }},
      {"tid.z",
       [](const Warp& warp, int lane) {
         const Dim3& block = launch_of(warp).block;
         return thread_number(warp, lane) / (block.x * block.y);
       }},
      {"ntid.x", [](const Warp& warp, int) { return launch_of(warp).block.x; }},
      {"ntid.y", [](const Warp& warp, int) { return launch_of(warp).block.y; }},
      {"ntid.z", [](const Warp& warp, int) { return launch_of(warp).block.z; }},
      {"ctaid.x", [](const Warp& warp, int) { return warp.block->index.x; }},
      {"ctaid.y", [](const Warp& warp, int) { return warp.block->index.y; }},
      {"ctaid.z", [](const Warp& warp, int) { return warp.block->index.z; }},
      {"nctaid.x", [](const Warp& warp, int) { return launch_of(warp).grid.x; }},
      {"nctaid.y", [](const Warp& warp, int) { return launch_of(warp).grid.y; }},
      {"nctaid.z", [](const Warp& warp, int) { return launch_of(warp).grid.z; }},
      {"laneid", [](const Warp&, int lane) { return static_cast<uint32_t>(lane); }},
      {"warpid", [](const Warp& warp, int) { return warp.index; }},
      {"nwarpid",
       [](const Warp& warp, int) { return static_cast<uint32_t>(warp.block->warps.size()); }},
      {"lanemask_eq", [](const Warp&, int lane) { return 1u << lane; }},
      {"lanemask_lt", [](const Warp&, int lane) { return (1u << lane) - 1; }},
      {"lanemask_le", [](const Warp&, int lane) { return (2u << lane) - 1; }},
      {"lanemask_gt", [](const Warp&, int lane) { return ~((2u << lane) - 1); }},
      {"lanemask_ge", [](const Warp&, int lane) { return ~((1u << lane) - 1); }},
      {"clusterid.x", [](const Warp& warp, int) { return cluster_index(warp).x; }},
      {"clusterid.y", [](const Warp& warp, int) { return cluster_index(warp).y; }},
      {"clusterid.z", [](const Warp& warp, int) { return cluster_index(warp).z; }},
      {"nclusterid.x", [](const Warp& warp, int) { return cluster_count(warp).x; }},
      {"nclusterid.y", [](const Warp& warp, int) { return cluster_count(warp).y; }},
      {"nclusterid.z", [](const Warp& warp, int) { return cluster_count(warp).z; }},
      {"cluster_ctaid.x", [](const Warp& warp, int) { return index_in_cluster(warp).x; }},
      {"cluster_ctaid.y", [](const Warp& warp, int) { return index_in_cluster(warp).y; }},
      {"cluster_ctaid.z", [](const Warp& warp, int) { return index_in_cluster(warp).z; }},
      {"cluster_nctaid.x", [](const Warp& warp, int) { return launch_of(warp).cluster.x; }},
      {"cluster_nctaid.y", [](const Warp& warp, int) { return launch_of(warp).cluster.y; }},
      {"cluster_nctaid.z", [](const Warp& warp, int) { return launch_of(warp).cluster.z; }},
      {"cluster_ctarank", [](const Warp& warp, int) { return warp.block->rank; }},
      {"cluster_nctarank",
       [](const Warp& warp, int) {
         return static_cast<uint32_t>(launch_of(warp).cluster.count());
       }},
      {"is_explicit_cluster",
       [](const Warp& warp, int) { return uint32_t{launch_of(warp).cluster.count() > 1}; }},
      {"dynamic_smem_size",
       [](const Warp& warp, int) { return launch_of(warp).dynamic_shared_bytes; }},
      {"total_smem_size", [](const Warp& warp, int) { return warp.block->shared_bytes; }},
  };
  return table;
}

template <class T>
void fill(Warp& warp, const Constant& constant, Value value) {
  Lanes<T>& lanes = warp.lanes<T>(constant.offset);
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = static_cast<T>(value(warp, lane));
}

}  // namespace

void set_special_registers(Warp& warp) {
  for (const Constant& constant : launch_of(warp).program->constants) {
    if (constant.special.empty()) continue;
    const auto found = values().find(constant.special);
    if (found == values().end()) {
      throw LaunchFailure("the special register %" + constant.special + " has no value here");
    }
    switch (constant.width) {
      case 1: {
        const bool holds = found->second(warp, 0) != 0;
        warp.predicate(constant.offset) = holds ? kAllLanes : 0;
        break;
      }
      case 2:
        fill<uint16_t>(warp, constant, found->second);
        break;
      case 4:
        fill<uint32_t>(warp, constant, found->second);
        break;
      default:
        fill<uint64_t>(warp, constant, found->second);
    }
  }
}

}  // namespace roofgate::sim
