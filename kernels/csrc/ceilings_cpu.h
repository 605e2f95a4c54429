// What the ceiling kernels of all instruction sets share.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace roofgate {

// The inner loops of one instruction set.
struct CeilingKernels {
  // Copies `bytes`, a multiple of 64; dst and src are aligned to 64.
  void (*copy)(void* dst, const void* src, size_t bytes);
  // Runs `iterations` of the chains and returns a value that depends on all of them.
  float (*multiply_add)(int64_t iterations);
  double flop_per_iteration;
};

extern const CeilingKernels kCeilingsPortable;
extern const CeilingKernels kCeilingsAvx2;
extern const CeilingKernels kCeilingsAvx512;
extern const CeilingKernels kCeilingsAvx512Bf16;
extern const CeilingKernels kCeilingsAmxBf16;

}  // namespace roofgate
