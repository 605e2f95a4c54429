// Named wrappers around the instructions that only compute_90a has.
#pragma once

#include <cstdint>

#include "ptx.cuh"

namespace roofgate::ptx {

// Describes to wgmma an operand tile in shared memory: rows of 64 16-bit elements (128 bytes) along
// K, their 16-byte chunks exchanged by the 128-byte swizzle, in groups of 8 rows that follow each
// other every 1024 bytes. `address` is aligned to 1024 bytes, plus 32 bytes for each k16 step
// inside the rows. PTX ISA, "Matrix Descriptor Format": address / 16 in bits 0-13, leading offset
// (unused here) in 16-29, stride / 16 in 32-45, swizzle 1 (128 bytes) in 62-63.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) {
  constexpr uint64_t kLeading = uint64_t{1} << 16;
  constexpr uint64_t kStride = uint64_t{1024 / 16} << 32;
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return (address & 0x3ffffu) / 16 | kLeading | kStride | kSwizzle128;
}

// Makes shared memory written by ordinary stores visible to wgmma, for this thread; a barrier has
// to follow.
__device__ __forceinline__ void fence_proxy_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Orders earlier accesses to the accumulators before the wgmma that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Ends the group of the wgmma issued so far, and waits until all groups are done. The accumulators
// pass through, so that the compiler cannot read them earlier.
template <int kRegisters>
__device__ __forceinline__ void wgmma_commit_and_wait(float (&d)[kRegisters]) {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// D[64, 256] (+)= A[64, 16] * B[256, 16]^T for a warpgroup: started, not waited for. `accumulate` =
// 0 drops what D held.
// clang-format off
#define ROOFGATE_WGMMA_OPERANDS_8(i)                                      \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]),             \
  "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define ROOFGATE_WGMMA_OPERANDS_32(i)                                     \
  ROOFGATE_WGMMA_OPERANDS_8(i), ROOFGATE_WGMMA_OPERANDS_8(i + 8),         \
  ROOFGATE_WGMMA_OPERANDS_8(i + 16), ROOFGATE_WGMMA_OPERANDS_8(i + 24)
#define ROOFGATE_WGMMA_M64N256K16(type)                                   \
  asm volatile(                                                           \
    "{\n"                                                                 \
    ".reg .pred accumulate;\n"                                            \
    "setp.ne.b32 accumulate, %130, 0;\n"                                  \
    "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {"     \
    "%0, %1, %2, %3, %4, %5, %6, %7, "                                    \
    "%8, %9, %10, %11, %12, %13, %14, %15, "                              \
    "%16, %17, %18, %19, %20, %21, %22, %23, "                            \
    "%24, %25, %26, %27, %28, %29, %30, %31, "                            \
    "%32, %33, %34, %35, %36, %37, %38, %39, "                            \
    "%40, %41, %42, %43, %44, %45, %46, %47, "                            \
    "%48, %49, %50, %51, %52, %53, %54, %55, "                            \
    "%56, %57, %58, %59, %60, %61, %62, %63, "                            \
    "%64, %65, %66, %67, %68, %69, %70, %71, "                            \
    "%72, %73, %74, %75, %76, %77, %78, %79, "                            \
    "%80, %81, %82, %83, %84, %85, %86, %87, "                            \
    "%88, %89, %90, %91, %92, %93, %94, %95, "                            \
    "%96, %97, %98, %99, %100, %101, %102, %103, "                        \
    "%104, %105, %106, %107, %108, %109, %110, %111, "                    \
    "%112, %113, %114, %115, %116, %117, %118, %119, "                    \
    "%120, %121, %122, %123, %124, %125, %126, %127}, "                   \
    "%128, %129, accumulate, 1, 1, 0, 0;\n"                               \
    "}"                                                                   \
    : ROOFGATE_WGMMA_OPERANDS_32(0), ROOFGATE_WGMMA_OPERANDS_32(32),      \
      ROOFGATE_WGMMA_OPERANDS_32(64), ROOFGATE_WGMMA_OPERANDS_32(96)      \
    : "l"(a), "l"(b), "r"(accumulate))
// clang-format on

__device__ __forceinline__ void wgmma_m64n256k16(Bf16, float (&d)[128], uint64_t a, uint64_t b,
                                                 int accumulate) {
  ROOFGATE_WGMMA_M64N256K16("bf16");
}

__device__ __forceinline__ void wgmma_m64n256k16(Fp16, float (&d)[128], uint64_t a, uint64_t b,
                                                 int accumulate) {
  ROOFGATE_WGMMA_M64N256K16("f16");
}

#undef ROOFGATE_WGMMA_M64N256K16
#undef ROOFGATE_WGMMA_OPERANDS_32
#undef ROOFGATE_WGMMA_OPERANDS_8

}  // namespace roofgate::ptx
