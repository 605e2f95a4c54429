#include "resident.h"

#include <algorithm>
#include <cstring>

#include "mbarrier.h"
#include "random.h"
#include "shadow.h"
#include "special_registers.h"

namespace roofgate::sim {
namespace {

constexpr uint64_t kSharedAlignment = 1024;
constexpr uint64_t kRegisterAlignment = 64;
constexpr int kPoison = 0xff;  // NaN in every floating-point format

uint64_t round_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

Dim3 position(uint64_t index, const Dim3& extent) {
  return {static_cast<uint32_t>(index % extent.x),
          static_cast<uint32_t>(index / extent.x % extent.y),
          static_cast<uint32_t>(index / extent.x / extent.y)};
}

uint32_t shared_bytes(const Launch& launch) {
  const Program& program = *launch.program;
  if (launch.dynamic_shared_bytes == 0) return program.static_shared_bytes;
  return round_up(program.static_shared_bytes, program.dynamic_shared_alignment) +
         launch.dynamic_shared_bytes;
}

void prepare_warp(Warp& warp, Resident& resident, Launch& launch,
                  const std::vector<std::byte>& registers, uint32_t threads) {
  const Program& program = *launch.program;
  const uint32_t lanes = std::min<uint32_t>(threads - warp.index * kLanes, kLanes);
  warp.live = lanes == kLanes ? kAllLanes : (LaneMask{1} << lanes) - 1;
  warp.registers = resident.arena.take(program.register_file_bytes, kRegisterAlignment);
  std::memcpy(warp.registers, registers.data(), program.register_file_bytes);
  const uint64_t local = uint64_t{program.local_bytes} * kLanes;
  if (local) {
    warp.local = resident.arena.take(local, kRegisterAlignment);
    std::memset(warp.local, kPoison, local);
  }
  warp.clock.set(warp.agent, 1);
  set_special_registers(warp);
  resident.warps.push_back(&warp);
}

void prepare_block(Block& block, Resident& resident, Launch& launch,
                   const std::vector<std::byte>& registers) {
  const auto threads = static_cast<uint32_t>(launch.block.count());
  block.cluster = &resident.cluster;
  block.shared_bytes = shared_bytes(launch);
  block.shared = resident.arena.take(std::max(block.shared_bytes, 1u), kSharedAlignment);
  std::memset(block.shared, kPoison, block.shared_bytes);
  block.live_lanes = threads;
  block.mbarriers = std::make_shared<MbarrierTable>();
  if (launch.options.check_races) block.shadow = std::make_unique<SharedShadow>(block.shared_bytes);
  const uint32_t warps = (threads + kLanes - 1) / kLanes;
  block.warps.resize(warps);
  for (uint32_t i = 0; i < warps; ++i) {
    Warp& warp = block.warps[i];
    warp.block = &block;
    warp.index = i;
    warp.agent = block.rank * warps + i;
    prepare_warp(warp, resident, launch, registers, threads);
  }
}

}  // namespace

std::byte* Arena::take(uint64_t bytes, uint64_t alignment) {
  auto& chunk = used_ < chunks_.size() ? chunks_[used_] : chunks_.emplace_back();
  ++used_;
  if (chunk.size() < bytes + alignment) chunk.resize(bytes + alignment);
  return reinterpret_cast<std::byte*>(
      round_up(reinterpret_cast<uint64_t>(chunk.data()), alignment));
}

Dim3 cluster_grid(const Launch& launch) {
  return {launch.grid.x / launch.cluster.x, launch.grid.y / launch.cluster.y,
          launch.grid.z / launch.cluster.z};
}

std::vector<std::byte> initial_registers(const Program& program) {
  std::vector<std::byte> file(program.register_file_bytes);
  for (const Constant& constant : program.constants) {
    if (!constant.special.empty()) continue;
    std::byte* place = file.data() + constant.offset;
    if (constant.width == 1) {
      const LaneMask lanes = constant.value ? kAllLanes : 0;
      std::memcpy(place, &lanes, sizeof lanes);
      continue;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      std::memcpy(place + lane * constant.width, &constant.value, constant.width);
    }
  }
  return file;
}

void start(Resident& resident, Launch& launch, const std::vector<std::byte>& registers,
           uint64_t index, SiteCounters* counters) {
  Cluster& cluster = resident.cluster;
  cluster.launch = &launch;
  cluster.counters = counters;
  cluster.random_state = launch.options.seed * 0x2545f4914f6cdd1d + index;
  const Dim3 origin = position(index, cluster_grid(launch));
  const auto warps = static_cast<uint32_t>((launch.block.count() + kLanes - 1) / kLanes);
  cluster.next_agent = static_cast<uint32_t>(launch.cluster.count()) * warps;
  for (uint32_t rank = 0; rank < launch.cluster.count(); ++rank) {
    const Dim3 offset = position(rank, launch.cluster);
    Block& block = *cluster.blocks.emplace_back(std::make_unique<Block>());
    block.rank = rank;
    block.index = {origin.x * launch.cluster.x + offset.x, origin.y * launch.cluster.y + offset.y,
                   origin.z * launch.cluster.z + offset.z};
    prepare_block(block, resident, launch, registers);
  }
  for (size_t i = 0; i < resident.warps.size(); ++i) {
    resident.priorities.push_back(next_random(cluster.random_state));
  }
}

}  // namespace roofgate::sim
