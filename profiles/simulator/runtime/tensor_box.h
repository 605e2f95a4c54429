// The box of a tensor that one TMA copy moves: where its rows lie on both sides.
#pragma once

#include <cstdint>

#include "tensor_map.h"

namespace roofgate::sim {

constexpr uint32_t kSwizzleChunk = 16;  // bytes that stay together

// Where a swizzled pattern puts the byte that would lie at `address` in shared memory: the 16-byte
// chunks of a span of 32, 64 or 128 bytes are exchanged by the number of the 128-byte line (PTX
// ISA, "Swizzling Modes"). Spans of 0 bytes and of one chunk: no pattern.
constexpr uint32_t swizzle(uint32_t address, uint32_t span_bytes) {
  if (span_bytes <= kSwizzleChunk) return address;
  return address ^ ((address >> 7 & (span_bytes / kSwizzleChunk - 1)) * kSwizzleChunk);
}

// Elements of one row of the box, the innermost dimension.
struct TensorRow {
  bool inside;             // of the tensor, in all outer dimensions
  uint64_t address;        // in global memory, of the first element that is inside
  uint32_t skipped;        // bytes of the row before that element
  uint32_t bytes;          // inside
  uint32_t shared_offset;  // of the row in the box's memory, before the swizzle
};

class TensorBox {
 public:
  TensorBox(const TensorMap& map, const int32_t* coordinates);

  uint32_t row_bytes() const { return row_bytes_; }
  uint32_t rows() const { return rows_; }
  int64_t origin(int dimension) const { return origin_[dimension]; }
  uint32_t bytes() const { return row_bytes_ * rows_; }
  TensorRow row(uint32_t index) const;

 private:
  TensorMap map_;
  int64_t origin_[kMaxTensorRank];
  uint32_t extent_[kMaxTensorRank];  // elements that the box holds
  uint32_t element_bytes_;
  uint32_t row_bytes_;
  uint32_t rows_ = 1;
};

}  // namespace roofgate::sim
