// A library of three small kernels with one instruction of each kind that the static layer counts.
// -DLOST_TENSOR, -DEDITED and -DLOST_FACTS plant what a careless change would do.
#include <cstdint>

#include "roofgate_abi.h"

namespace example {

struct Bf16 {};
struct Fp16 {};

enum class MaskKind : int { kFull, kWindow };

template <class Element, int head_dim, MaskKind mask>
struct Tile {};

__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b) {
#ifdef LOST_TENSOR
  for (int i = 0; i < 4; ++i) d[i] += __uint_as_float(a[i]) * __uint_as_float(b);
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %8}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b));
#endif
}

template <class Config>
__global__ void __launch_bounds__(128) attention_fwd_sm80(const float* source, float* destination) {
  extern __shared__ float tile[];
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(tile + threadIdx.x * 4));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address),
               "l"(source + threadIdx.x * 4)
               : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  uint32_t a[4];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
  float d[4] = {};
  multiply(d, a, a[0]);
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(d[0]));
#ifdef EDITED
  power += 0.5f;
#endif
  destination[threadIdx.x] = power + d[1] + d[2] + d[3];
}

// A plain counterpart in an anonymous namespace, whose symbol holds a hash of the file's path.
namespace {
__global__ void __launch_bounds__(64) scale_kernel(float* values, float factor) {
  __shared__ float copies[64];
  copies[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = copies[threadIdx.x ^ 1] * factor;
}
}  // namespace

void launch(const float* source, float* destination) {
  attention_fwd_sm80<Tile<Bf16, 64, MaskKind::kWindow>><<<1, 128, 2048>>>(source, destination);
  scale_kernel<<<1, 64>>>(destination, 2.0f);
}

}  // namespace example

#ifndef LOST_FACTS
int roofgate_kernel_launch(int index, struct roofgate_kernel_launch_facts* facts) {
  const struct roofgate_kernel_launch_facts kernels[] = {
      {"attention_fwd<bf16, 64, window>", 128, 2048}, {"scale", 64, 0}};
  if (index >= 2) return 0;
  *facts = kernels[index];
  return 1;
}
#endif
