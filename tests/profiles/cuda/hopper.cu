// Kernels for sm_90a that lose performance in ways that the compiler tells. tests/profiles/logs
// holds what it says.
#include <cstdint>

// Without the second launch bound the compiler does not know how many registers a thread starts
// with (C7508).
__global__ void __launch_bounds__(256) ignored_setmaxnreg(float* p) {
  if (threadIdx.x < 128) asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
  p[threadIdx.x] = 1;
}

// The sums are touched between two products, so that the products wait for each other (C7511,
// C7517, C7519).
__global__ void serialised_wgmma(float* p, uint64_t a, uint64_t b) {
  float d[4] = {};
  asm volatile("wgmma.fence.sync.aligned;");
  for (int i = 0; i < 2; ++i) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, "
        "0;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "l"(a), "l"(b));
    d[0] += 1;
  }
  asm volatile("wgmma.commit_group.sync.aligned;");
  asm volatile("wgmma.wait_group.sync.aligned 0;");
  for (int i = 0; i < 4; ++i) p[threadIdx.x * 4 + i] = d[i];
}
