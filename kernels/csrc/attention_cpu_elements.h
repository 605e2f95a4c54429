// Element types of the tensors that host attention kernels read and write.
#pragma once

#include <stdint.h>
#include <string.h>

#include "cpu_compiler.h"

namespace roofgate {
// Unnamed: each instruction set compiles its own copy with its own flags.
namespace {

struct Bf16 {
  using Storage = uint16_t;

  static ROOFGATE_INLINE float widen(Storage value) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
  }
  // Rounds to nearest even; a NaN stays one.
  static ROOFGATE_INLINE Storage narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    return static_cast<Storage>((bits & 0x7FFFFFFF) > 0x7F800000 ? (bits >> 16) | 0x40 : rounded);
  }
};

struct Fp32 {
  using Storage = float;

  static ROOFGATE_INLINE float widen(Storage value) { return value; }
  static ROOFGATE_INLINE Storage narrow(float value) { return value; }
};

// Rows of head_dim elements inside a tensor.
template <class Element>
struct Rows {
  const typename Element::Storage* first;
  int64_t stride;
  int count;

  ROOFGATE_INLINE const typename Element::Storage* operator[](int row) const {
    return first + row * stride;
  }
};

}  // namespace
}  // namespace roofgate
