// The PTX instructions that only the backward kernels use, named as those of ptx.cuh.
#pragma once

#include <cstdint>

#include "ptx.cuh"

#ifndef ROOFGATE_SM
#error "pass -DROOFGATE_SM=80, 86, 89 or 90: the architecture that this library is built for"
#endif

namespace roofgate::ptx {

// One instruction, which the compiler does not take apart again.
__device__ __forceinline__ uint4 load_global_16(const void* address) {
  uint4 value;
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(__cvta_generic_to_global(address))
               : "memory");
  return value;
}

// Numbers that one instruction adds to consecutive addresses: only sm_90 adds vectors.
#if ROOFGATE_SM >= 90
constexpr int kRedWidth = 4;
#else
constexpr int kRedWidth = 1;
#endif

// Adds kRedWidth numbers to global memory, in any order with the additions of other threads and
// without waiting. The address is a multiple of 4 * kRedWidth.
__device__ __forceinline__ void red_add(float* address, const float* values) {
#if ROOFGATE_SM >= 90
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(__cvta_generic_to_global(address)), "f"(values[0]), "f"(values[1]),
                 "f"(values[2]), "f"(values[3])
               : "memory");
#else
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;"
               :
               : "l"(__cvta_generic_to_global(address)), "f"(values[0])
               : "memory");
#endif
}

// Waits until `*counter` is `value`. What the threads that counted up to it did before is then
// visible to this thread, and after a barrier to its block.
__device__ __forceinline__ void wait_for(const uint32_t* counter, uint32_t value) {
  uint32_t found;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                 : "=r"(found)
                 : "l"(__cvta_generic_to_global(counter))
                 : "memory");
  } while (found != value);
}

// Counts up for those that wait_for the counter: they see what this thread's block did before the
// last barrier.
__device__ __forceinline__ void count_up(uint32_t* counter) {
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;"
               :
               : "l"(__cvta_generic_to_global(counter))
               : "memory");
}

// The two fp32 values of a pair of 16-bit elements.
template <class Element>
__device__ __forceinline__ float2 unpack(uint32_t pair);

template <>
__device__ __forceinline__ float2 unpack<Bf16>(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

template <>
__device__ __forceinline__ float2 unpack<Fp16>(uint32_t pair) {
  float2 value;
  asm("{\n\t.reg .b16 low, high;\n\t"
      "mov.b32 {low, high}, %2;\n\t"
      "cvt.f32.f16 %0, low;\n\t"
      "cvt.f32.f16 %1, high;\n\t}"
      : "=f"(value.x), "=f"(value.y)
      : "r"(pair));
  return value;
}

}  // namespace roofgate::ptx
