// What cuTensorMapEncodeTiled refuses, and the bytes that it makes.
#include <cstring>

#include "tensor_map.h"

namespace roofgate::sim {
namespace {

constexpr int kFirstPackedType = 13;
constexpr int kDataTypes = 16;
constexpr int kSwizzles = 7;
constexpr int kModelledSwizzles = 4;  // none and chunks of 16 bytes in spans of 32, 64 and 128
constexpr int kPromotions = 4;
constexpr int kFills = 2;
constexpr int kInterleaves = 3;
constexpr uint64_t kMaxDimension = uint64_t{1} << 32;
constexpr uint64_t kMaxStride = uint64_t{1} << 40;
constexpr uint32_t kMaxBox = 256;
constexpr uint32_t kMaxElementStride = 8;
constexpr uint64_t kGranule = 16;  // bytes: of addresses, strides and the box's inner dimension
constexpr int kInterleave32 = 2;
constexpr int kSwizzle32 = 1;

bool is_floating(int type) {
  return type >= static_cast<int>(TensorType::kF16) && type < kFirstPackedType;
}

bool in_range(int value, int count) { return value >= 0 && value < count; }

bool enumerations_valid(int type, int interleave, int swizzle, int l2_promotion, int fill) {
  return in_range(type, kDataTypes) && in_range(interleave, kInterleaves) &&
         in_range(swizzle, kSwizzles) && in_range(l2_promotion, kPromotions) &&
         in_range(fill, kFills) && (fill == 0 || is_floating(type)) &&
         (interleave != kInterleave32 || swizzle == kSwizzle32);
}

bool dimensions_valid(uint32_t rank, const uint64_t* dimensions, const uint32_t* box,
                      const uint32_t* element_strides) {
  for (uint32_t i = 0; i < rank; ++i) {
    if (dimensions[i] == 0 || dimensions[i] > kMaxDimension) return false;
    if (box[i] == 0 || box[i] > kMaxBox) return false;
    if (element_strides[i] == 0 || element_strides[i] > kMaxElementStride) return false;
  }
  return true;
}

bool strides_valid(uint32_t rank, const uint64_t* strides, uint64_t granule) {
  for (uint32_t i = 0; i + 1 < rank; ++i) {
    if (strides[i] % granule || strides[i] >= kMaxStride) return false;
  }
  return true;
}

}  // namespace

uint32_t tensor_element_bytes(TensorType type) {
  switch (type) {
    case TensorType::kU8:
      return 1;
    case TensorType::kU16:
    case TensorType::kF16:
    case TensorType::kBF16:
      return 2;
    case TensorType::kU64:
    case TensorType::kS64:
    case TensorType::kF64:
      return 8;
    default:
      return 4;
  }
}

int encode_tensor_map(TensorMapBytes* map, int type, uint32_t rank, uint64_t address,
                      const uint64_t* dimensions, const uint64_t* strides, const uint32_t* box,
                      const uint32_t* element_strides, int interleave, int swizzle,
                      int l2_promotion, int fill) {
  if (!map || !dimensions || !box || !element_strides || (rank > 1 && !strides)) {
    return kCudaInvalidValue;
  }
  const uint32_t least_rank = interleave ? 3 : 1;
  const uint64_t granule = interleave == kInterleave32 ? 2 * kGranule : kGranule;
  if (reinterpret_cast<uint64_t>(map) % kTensorMapAlignment || rank < least_rank ||
      rank > kMaxTensorRank || address % granule ||
      !enumerations_valid(type, interleave, swizzle, l2_promotion, fill) ||
      !dimensions_valid(rank, dimensions, box, element_strides) ||
      !strides_valid(rank, strides, granule)) {
    return kCudaInvalidValue;
  }
  if (interleave || type >= kFirstPackedType || swizzle >= kModelledSwizzles) {
    return kCudaNotSupported;
  }
  TensorMap result = {};
  result.magic = kTensorMapMagic;
  result.address = address;
  result.type = static_cast<TensorType>(type);
  result.rank = static_cast<uint8_t>(rank);
  result.swizzle_bytes = swizzle ? 16 << swizzle : 0;
  result.fills_nan = static_cast<uint8_t>(fill);
  const uint32_t inner_bytes = box[0] * tensor_element_bytes(result.type);
  if (inner_bytes % kGranule || (swizzle && inner_bytes > result.swizzle_bytes)) {
    return kCudaInvalidValue;
  }
  for (uint32_t i = 0; i < rank; ++i) {
    result.dimensions[i] = dimensions[i];
    result.box[i] = static_cast<uint16_t>(box[i]);
    // "The first element of this array is ignored": cuda.h.
    result.element_strides[i] = i == 0 ? 1 : static_cast<uint8_t>(element_strides[i]);
    if (i + 1 < rank) result.strides[i] = strides[i];
  }
  std::memcpy(map->bytes, &result, sizeof result);
  return kCudaSuccess;
}

}  // namespace roofgate::sim
