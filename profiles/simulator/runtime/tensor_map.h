// Tensor maps: what cuTensorMapEncodeTiled makes and TMA copies read. 128 opaque bytes; the layout
// here is the simulator's own, and profiles/simulator/tensor_map.py writes the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "warp.h"

namespace roofgate::sim {

constexpr int kMaxTensorRank = 5;
constexpr uint64_t kTensorMapMagic = 0x3150414d54474652;
constexpr size_t kTensorMapBytes = 128;
constexpr size_t kTensorMapAlignment = 64;

struct alignas(kTensorMapAlignment) TensorMapBytes {
  std::byte bytes[kTensorMapBytes];
};

// CUtensorMapDataType, by its numbers.
enum class TensorType : uint8_t {
  kU8,
  kU16,
  kU32,
  kS32,
  kU64,
  kS64,
  kF16,
  kF32,
  kF64,
  kBF16,
  kF32Flush,
  kTF32,
  kTF32Flush,
};
constexpr int kTensorTypes = 13;  // the packed types of later architectures are not modelled

uint32_t tensor_element_bytes(TensorType type);

struct TensorMap {
  uint64_t magic;
  uint64_t address;
  uint64_t dimensions[kMaxTensorRank];   // elements, innermost first
  uint64_t strides[kMaxTensorRank - 1];  // bytes, of dimensions 1 and up
  uint16_t box[kMaxTensorRank];          // elements that a copy traverses
  uint8_t element_strides[kMaxTensorRank];
  TensorType type;
  uint8_t rank;
  uint8_t swizzle_bytes;  // 0, 32, 64 or 128
  uint8_t fills_nan;      // outside the tensor: NaN, else zero
  uint8_t reserved[21];
};
static_assert(sizeof(TensorMap) == kTensorMapBytes);

// cuTensorMapEncodeTiled: arguments, checks and results (CUresult) are the driver's; see cuda.h.
// What is legal but not modelled gives CUDA_ERROR_NOT_SUPPORTED.
constexpr int kCudaSuccess = 0;
constexpr int kCudaInvalidValue = 1;
constexpr int kCudaNotSupported = 801;
int encode_tensor_map(TensorMapBytes* map, int type, uint32_t rank, uint64_t address,
                      const uint64_t* dimensions, const uint64_t* strides, const uint32_t* box,
                      const uint32_t* element_strides, int interleave, int swizzle,
                      int l2_promotion, int fill);

// The map at a generic address: global, constant or parameter memory. Fails with a finding if it is
// none, as the hardware would.
TensorMap read_tensor_map(Warp& warp, const Instruction& instruction, int lane, uint64_t address);

}  // namespace roofgate::sim
