// PTX ISA, "Data Movement and Conversion Instructions: Tensor copy", tile mode.
#include <cstring>
#include <string>
#include <utility>

#include "bulk_copy.h"
#include "bulk_reduce.h"
#include "findings.h"
#include "numerics.h"
#include "shared_operand.h"
#include "tensor_box.h"
#include "tensor_map.h"

namespace roofgate::sim {
namespace {

constexpr uint32_t kSharedAlignment = 128;
constexpr uint32_t kMaxRowBytes = 256 * 8;
// rank, address of the map, coordinates; then what load and store differ in.
constexpr int kMap = 1;
constexpr int kCoordinates = kMap + kGlobalOperands;

struct TensorRequest {
  TensorMap map;
  TensorBox box;
};

[[noreturn]] void refuse(Warp& warp, const Instruction& instruction, int lane,
                         const std::string& message) {
  fail(warp, instruction, {Check::kTensorCopy, message, LaneMask{1} << lane});
}

void require_alignment(Warp& warp, const Instruction& instruction, int lane, const char* side,
                       uint32_t address) {
  if (address % kSharedAlignment == 0) return;
  refuse(warp, instruction, lane,
         std::string(side) + " in shared memory must be aligned to 128 bytes, but lies at " +
             std::to_string(address));
}

// Operands from `first` on: rank, map, coordinates.
TensorRequest read_request(Warp& warp, const Instruction& instruction, int first, int lane) {
  const auto rank = static_cast<int>(instruction.operands[first]);
  const TensorMap map = read_tensor_map(warp, instruction, lane,
                                        global_operand(warp, instruction, first + kMap, lane));
  if (map.rank != rank) {
    refuse(warp, instruction, lane,
           "the tensor map has " + std::to_string(map.rank) + " dimensions, the instruction " +
               std::to_string(rank));
  }
  int32_t coordinates[kMaxTensorRank] = {};
  for (int i = 0; i < rank; ++i) {
    coordinates[i] = warp.lanes<int32_t>(instruction.operands[first + kCoordinates + i])[lane];
  }
  if (int64_t{coordinates[0]} * tensor_element_bytes(map.type) % kSwizzleChunk != 0) {
    refuse(warp, instruction, lane,
           "the innermost coordinate must be a multiple of 16 bytes (an H100 ends the kernel with "
           "an illegal instruction), but is element " +
               std::to_string(coordinates[0]));
  }
  TensorRequest request{map, TensorBox(map, coordinates)};
  if (map.swizzle_bytes && request.box.row_bytes() < map.swizzle_bytes) {
    refuse(warp, instruction, lane,
           "not modelled: a box whose rows are shorter than the span of its swizzle (" +
               std::to_string(map.swizzle_bytes) + " bytes)");
  }
  return request;
}

int operands_of_request(const Instruction& instruction, int first) {
  return kCoordinates + static_cast<int>(instruction.operands[first]);
}

// Bytes outside the tensor: zero, or a NaN, of which an H100 writes the same 16 bits for every
// floating-point type.
void fill(std::byte* row, const TensorRequest& request) {
  std::memset(row, 0, request.box.row_bytes());
  if (!request.map.fills_nan) return;
  constexpr uint16_t kNan = 0x7ff7;
  for (uint32_t i = 0; i < request.box.row_bytes(); i += sizeof(kNan)) {
    std::memcpy(row + i, &kNan, sizeof(kNan));
  }
}

// Loads as TF32 round to the nearest, as cvt.rn.tf32 does. An H100 flushes no subnormal numbers on
// the way, whether the type asks for it or not.
void round_elements(std::byte* row, uint32_t bytes, TensorType type) {
  if (type != TensorType::kTF32 && type != TensorType::kTF32Flush) return;
  for (uint32_t i = 0; i < bytes; i += sizeof(float)) {
    float value;
    std::memcpy(&value, row + i, sizeof(value));
    const uint32_t rounded = encode<TensorFloat32>(value) << kTf32Dropped;
    std::memcpy(row + i, &rounded, sizeof(rounded));
  }
}

// Calls visit(place in shared memory, offset in the row, bytes) for the pieces of a row that the
// swizzle leaves together.
template <class Visit>
void each_piece(const TensorRequest& request, const SharedPlace& box, uint32_t row_offset,
                Visit visit) {
  const uint32_t span = request.map.swizzle_bytes;
  const uint32_t bytes = request.box.row_bytes();
  const uint32_t piece = span ? kSwizzleChunk : bytes;
  for (uint32_t i = 0; i < bytes; i += piece) {
    visit(box.block->shared + swizzle(box.offset + row_offset + i, span), i, piece);
  }
}

void load_box(const TensorRequest& request, const std::vector<LoadTarget>& targets) {
  std::byte row_bytes[kMaxRowBytes];
  for (uint32_t i = 0; i < request.box.rows(); ++i) {
    const TensorRow row = request.box.row(i);
    if (row.bytes < request.box.row_bytes()) fill(row_bytes, request);
    if (row.inside) {
      const std::byte* from =
          global_bytes(targets[0].access, row.address, row.bytes, Access::kRead);
      std::memcpy(row_bytes + row.skipped, from, row.bytes);
      round_elements(row_bytes + row.skipped, row.bytes, request.map.type);
    }
    for (const LoadTarget& target : targets) {
      each_piece(request, target.data, row.shared_offset,
                 [&](std::byte* to, uint32_t offset, uint32_t bytes) {
                   std::memcpy(to, row_bytes + offset, bytes);
                 });
    }
  }
}

// Writes the part of the box that is inside the tensor.
template <class Combine>
void store_box(const TensorRequest& request, const BulkStore& store, Access kind,
               const Combine& combine) {
  std::byte row_bytes[kMaxRowBytes];
  for (uint32_t i = 0; i < request.box.rows(); ++i) {
    const TensorRow row = request.box.row(i);
    if (!row.inside) continue;
    each_piece(request, store.source, row.shared_offset,
               [&](const std::byte* from, uint32_t offset, uint32_t bytes) {
                 std::memcpy(row_bytes + offset, from, bytes);
               });
    combine(global_bytes(store.write, row.address, row.bytes, kind), row_bytes + row.skipped,
            row.bytes);
  }
}

// Operands: the request, destination, mbarrier, [ranks].
Status load(Warp& warp, const Instruction& instruction) {
  const int data = operands_of_request(instruction, 0);
  const int ranks = data + 2 * kSharedOperands;
  const bool multicast = static_cast<int>(instruction.operand_count) > ranks;
  each_lane(warp.executing, [&](int lane) {
    TensorRequest request = read_request(warp, instruction, 0, lane);
    LoadRequest load{.data = shared_operand(warp, instruction, data, lane),
                     .barrier = shared_operand(warp, instruction, data + kSharedOperands, lane),
                     .bytes = request.box.bytes(),
                     .ranks = std::nullopt,
                     .action = "TMA load"};
    if (multicast) load.ranks = warp.lanes<uint16_t>(instruction.operands[ranks])[lane];
    require_alignment(warp, instruction, lane, "the destination", load.data);
    auto targets = begin_load(warp, instruction, lane, load);
    run_later(warp, [request = std::move(request), targets = std::move(targets)] {
      load_box(request, targets);
      for (const LoadTarget& target : targets) end_load(target, request.box.bytes());
    });
  });
  return Status::kNext;
}

// Only loads may begin before the tensor.
void require_inside(Warp& warp, const Instruction& instruction, int lane,
                    const TensorRequest& request) {
  for (int i = 0; i < request.map.rank; ++i) {
    if (request.box.origin(i) >= 0) continue;
    refuse(warp, instruction, lane,
           "a store or reduction must not have negative coordinates (an H100 ends the kernel with "
           "an illegal instruction), but has " +
               std::to_string(request.box.origin(i)));
  }
}

// Starts a store of one lane. Operands from `first` on: the request, source.
template <class Combine>
void start_store(Warp& warp, const Instruction& instruction, int first, int lane,
                 TensorRequest request, Access kind, Combine combine) {
  const int operand = first + operands_of_request(instruction, first);
  const uint32_t source = shared_operand(warp, instruction, operand, lane);
  require_alignment(warp, instruction, lane, "the source", source);
  require_inside(warp, instruction, lane, request);
  const auto store = begin_store(warp, instruction, lane, source, request.box.bytes(), "TMA store");
  run_later(store, [store = store.get(), request = std::move(request), kind, combine] {
    store_box(request, *store, kind, combine);
  });
}

void copy_bytes(std::byte* to, const std::byte* from, uint32_t bytes) {
  std::memcpy(to, from, bytes);
}

Status store(Warp& warp, const Instruction& instruction) {
  each_lane(warp.executing, [&](int lane) {
    start_store(warp, instruction, 0, lane, read_request(warp, instruction, 0, lane),
                Access::kWrite, copy_bytes);
  });
  return Status::kNext;
}

ReducedType reduced_type(Warp& warp, const Instruction& instruction, int lane, TensorType type) {
  switch (type) {
    case TensorType::kU32:
      return ReducedType::kU32;
    case TensorType::kS32:
      return ReducedType::kS32;
    case TensorType::kU64:
      return ReducedType::kU64;
    case TensorType::kS64:
      return ReducedType::kS64;
    case TensorType::kF16:
      return ReducedType::kF16;
    case TensorType::kBF16:
      return ReducedType::kBF16;
    case TensorType::kF32:
    case TensorType::kF32Flush:
      return ReducedType::kF32;
    case TensorType::kF64:
      return ReducedType::kF64;
    default:
      refuse(warp, instruction, lane, "tensors of this type cannot be reduced into");
  }
}

// Operands: reduction, then as for a store.
Status reduce(Warp& warp, const Instruction& instruction) {
  const auto reduction = static_cast<Reduction>(instruction.operands[0]);
  each_lane(warp.executing, [&](int lane) {
    TensorRequest request = read_request(warp, instruction, 1, lane);
    const ReducedType type = reduced_type(warp, instruction, lane, request.map.type);
    const Reducer reducer = find_reducer(warp, instruction, reduction, type);
    start_store(warp, instruction, 1, lane, std::move(request), Access::kAtomic, reducer);
  });
  return Status::kNext;
}

ROOFGATE_OPERATION("cp.async.bulk.tensor.load", load);
ROOFGATE_OPERATION("cp.async.bulk.tensor.store", store);
ROOFGATE_OPERATION("cp.reduce.async.bulk.tensor", reduce);

}  // namespace
}  // namespace roofgate::sim
