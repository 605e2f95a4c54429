// What this GPU can reach: the copy bandwidth of device memory, and the instruction peak of one
// dtype. Measured rooflines are made of these.
//
// copy         Each byte is read and written once, 16 bytes per instruction, by SMs full of threads
//              with four loads under way each: far more than latency times bandwidth needs (about
//              2.5 MB on H100).
// bf16, fp16   Tensor cores with fp32 sums. sm_80 to sm_89: chains of mma.sync.m16n8k16 in
// registers.
//              sm_90: wgmma.m64n256k16 on shared memory, since mma.sync reaches only about 2/3 of
//              the tensor cores' peak on Hopper. A kernel that uses it there stays as far below
//              this ceiling, which is the truth about that kernel.
// fp32         Chains of fused multiply-adds.
//
// The operands are pseudo-random: on zeros the chip draws less power and clocks higher than it does
// with real data, which would put the ceiling out of reach.
#include <cuda_runtime.h>

#include <cstdint>
#include <limits>

#include "kernel_launches.h"
#include "ptx.cuh"
#include "roofgate_abi.h"

#ifndef ROOFGATE_SM
#error "pass -DROOFGATE_SM=80, 86, 89 or 90: the architecture that this library is built for"
#endif
#if ROOFGATE_SM == 90
#include "ptx_sm90.cuh"
#endif

namespace roofgate {

constexpr int kCopyThreads = 512;
constexpr int kCopyBlocksPerSm = 3;  // all the threads that sm_86 and sm_89 have room for
constexpr int kCopyUnroll = 4;

// Each thread moves `kCopyUnroll` chunks per trip, `stride` apart, so that a warp always touches
// whole lines.
__global__ void __launch_bounds__(kCopyThreads, kCopyBlocksPerSm)
    ceiling_copy(uint4* destination, const uint4* source, int64_t chunks) {
  const int64_t stride = int64_t{gridDim.x} * kCopyThreads;
  int64_t chunk = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  for (; chunk + (kCopyUnroll - 1) * stride < chunks; chunk += kCopyUnroll * stride) {
    uint4 values[kCopyUnroll];
#pragma unroll
    for (int i = 0; i < kCopyUnroll; ++i) values[i] = __ldcs(source + chunk + i * stride);
#pragma unroll
    for (int i = 0; i < kCopyUnroll; ++i) __stcs(destination + chunk + i * stride, values[i]);
  }
  for (; chunk < chunks; chunk += stride) __stcs(destination + chunk, __ldcs(source + chunk));
}

// Products of one kind, repeated `iterations` times by each warp.
struct ProductArguments {
  int64_t iterations;
  float* sink;
  float impossible;  // NaN, but the compiler does not know: so it has to compute every sum
};

__device__ __forceinline__ void keep(float sum, const ProductArguments& arguments) {
  const bool first = blockIdx.x == 0 && threadIdx.x == 0;
  if (first || sum == arguments.impossible) *arguments.sink = sum;
}

__device__ __forceinline__ uint32_t hash(uint32_t value) {
  value = value * 0x9e3779b9u + 0x7f4a7c15u;
  value = (value ^ (value >> 16)) * 0x85ebca6bu;
  return (value ^ (value >> 13)) * 0xc2b2ae35u;
}

// Two 16-bit numbers of random sign with magnitudes random in [1, 2).
__device__ __forceinline__ uint32_t random_pair(ptx::Bf16, uint32_t seed) {
  return 0x3f803f80u | (hash(seed) & 0x807f807fu);
}

__device__ __forceinline__ uint32_t random_pair(ptx::Fp16, uint32_t seed) {
  return 0x3c003c00u | (hash(seed) & 0x83ff83ffu);
}

// Each kernel comes with its launch and with what one iteration of one block computes.

constexpr int kFmaThreads = 512;
constexpr int kFmaBlocksPerSm = 2;
constexpr int kFmaChains = 16;
constexpr int kFmaLinks = 4;
constexpr double kFmaFlop = 2.0 * kFmaThreads * kFmaChains * kFmaLinks;

// x <- b - 0.999 x: each chain keeps swinging about b / 2.
__global__ void __launch_bounds__(kFmaThreads, kFmaBlocksPerSm)
    ceiling_fma(const ProductArguments arguments) {
  const float b = __uint_as_float(0x3f800000u | hash(threadIdx.x) >> 9);
  float x[kFmaChains];
#pragma unroll
  for (int chain = 0; chain < kFmaChains; ++chain) {
    x[chain] = __uint_as_float(0x3f800000u | hash(threadIdx.x * kFmaChains + chain) >> 9);
  }
#pragma unroll 1
  for (int64_t iteration = 0; iteration < arguments.iterations; ++iteration) {
#pragma unroll
    for (int link = 0; link < kFmaLinks; ++link) {
#pragma unroll
      for (int chain = 0; chain < kFmaChains; ++chain) x[chain] = fmaf(x[chain], -0.999f, b);
    }
  }
  float sum = 0.0f;
#pragma unroll
  for (int chain = 0; chain < kFmaChains; ++chain) sum += x[chain];
  keep(sum, arguments);
}

#if ROOFGATE_SM == 90
// Two warpgroups: one's products run while the other waits for its own.
constexpr int kWgmmaThreads = 256;
constexpr int kWgmmaRowElements = 64;
constexpr int kWgmmaOperandWords = (64 + 256) * kWgmmaRowElements / 2;
constexpr int kWgmmaSteps = 16;
constexpr double kWgmmaFlop = (kWgmmaThreads / 128) * kWgmmaSteps * (2.0 * 64 * 256 * 16);

// One tile A[64, 64] and one B[256, 64], both read again and again: 10 KiB per product, which takes
// 80 of the 128 clocks that the product does. Each iteration starts its sum anew.
template <class Element>
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    ceiling_wgmma(const ProductArguments arguments) {
  __shared__ __align__(1024) uint32_t operands[kWgmmaOperandWords];
  for (int i = threadIdx.x; i < kWgmmaOperandWords; i += kWgmmaThreads) {
    operands[i] = random_pair(Element{}, i);
  }
  ptx::fence_proxy_async_shared();
  __syncthreads();
  const uint32_t a_tile = ptx::shared_address(operands);
  const uint64_t a = ptx::wgmma_descriptor(a_tile);
  const uint64_t b = ptx::wgmma_descriptor(a_tile + 64 * kWgmmaRowElements * 2);
  float d[128] = {};
#pragma unroll 1
  for (int64_t iteration = 0; iteration < arguments.iterations; ++iteration) {
    ptx::wgmma_fence();
#pragma unroll
    for (int step = 0; step < kWgmmaSteps; ++step) {
      const uint64_t offset = step * 16 % kWgmmaRowElements * 2 / 16;  // in the descriptors' units
      ptx::wgmma_m64n256k16(Element{}, d, a + offset, b + offset, step > 0);
    }
    ptx::wgmma_commit_and_wait(d);
  }
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 128; ++i) sum += d[i];
  keep(sum, arguments);
}
#else
constexpr int kMmaThreads = 256;
constexpr int kMmaBlocksPerSm = 2;
constexpr int kMmaChains = 8;
constexpr double kMmaFlop = 2.0 * (kMmaThreads / 32) * kMmaChains * (2 * 16 * 8 * 16);

// Each chain adds A B and subtracts it again, so the sums stay small.
template <class Element>
__global__ void __launch_bounds__(kMmaThreads, kMmaBlocksPerSm)
    ceiling_mma_sync(const ProductArguments arguments) {
  uint32_t a[4];
  uint32_t minus_a[4];
  uint32_t b[kMmaChains][2];
  float d[kMmaChains][4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    a[i] = random_pair(Element{}, threadIdx.x * 4 + i);
    minus_a[i] = a[i] ^ 0x80008000u;
  }
#pragma unroll
  for (int chain = 0; chain < kMmaChains; ++chain) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      b[chain][i] = random_pair(Element{}, (threadIdx.x * kMmaChains + chain) * 2 + i + 0x10000u);
    }
  }
#pragma unroll 1
  for (int64_t iteration = 0; iteration < arguments.iterations; ++iteration) {
#pragma unroll
    for (int chain = 0; chain < kMmaChains; ++chain) {
      Element::mma_m16n8k16(d[chain], a, b[chain][0], b[chain][1]);
    }
#pragma unroll
    for (int chain = 0; chain < kMmaChains; ++chain) {
      Element::mma_m16n8k16(d[chain], minus_a, b[chain][0], b[chain][1]);
    }
  }
  float sum = 0.0f;
#pragma unroll
  for (int chain = 0; chain < kMmaChains; ++chain) {
    sum += d[chain][0] + d[chain][1] + d[chain][2] + d[chain][3];
  }
  keep(sum, arguments);
}
#endif

namespace {

int count_multiprocessors(int* count) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device);
}

int launch_products(void (*kernel)(ProductArguments), int threads, int blocks_per_sm,
                    double flop_per_block, roofgate_ceiling_flops_params* params,
                    cudaStream_t stream) {
  int multiprocessors = 0;
  const int error = count_multiprocessors(&multiprocessors);
  if (error != cudaSuccess) return error;
  const int blocks = multiprocessors * blocks_per_sm;
  ProductArguments arguments = {params->iterations, static_cast<float*>(params->sink),
                                std::numeric_limits<float>::quiet_NaN()};
  params->flop = flop_per_block * blocks * static_cast<double>(params->iterations);
  void* kernel_parameters[] = {&arguments};
  return cudaLaunchKernel(kernel, dim3(blocks), dim3(threads), kernel_parameters, 0, stream);
}

template <class Element>
int launch_tensor_products(roofgate_ceiling_flops_params* params, cudaStream_t stream) {
#if ROOFGATE_SM == 90
  return launch_products(ceiling_wgmma<Element>, kWgmmaThreads, 1, kWgmmaFlop, params, stream);
#else
  return launch_products(ceiling_mma_sync<Element>, kMmaThreads, kMmaBlocksPerSm, kMmaFlop, params,
                         stream);
#endif
}

}  // namespace

KernelLaunches ceiling_launches() {
  static constexpr roofgate_kernel_launch_facts kFacts[] = {
      {"ceiling_copy", kCopyThreads, 0},
      {"ceiling_fma", kFmaThreads, 0},
#if ROOFGATE_SM == 90
      {"ceiling_wgmma<bf16>", kWgmmaThreads, 0},
      {"ceiling_wgmma<fp16>", kWgmmaThreads, 0},
#else
      {"ceiling_mma_sync<bf16>", kMmaThreads, 0},
      {"ceiling_mma_sync<fp16>", kMmaThreads, 0},
#endif
  };
  return kernel_launches(kFacts);
}

}  // namespace roofgate

int roofgate_ceiling_copy(const roofgate_ceiling_copy_params* params, void* stream) {
  using roofgate::kCopyThreads;
  constexpr int kAlignment = 16;
  if (params->bytes < 0 || params->bytes % 64 != 0) return ROOFGATE_BAD_SHAPE;
  if (reinterpret_cast<uintptr_t>(params->dst) % kAlignment != 0 ||
      reinterpret_cast<uintptr_t>(params->src) % kAlignment != 0) {
    return ROOFGATE_BAD_ALIGNMENT;
  }
  if (params->bytes == 0) return ROOFGATE_OK;
  int multiprocessors = 0;
  const int error = roofgate::count_multiprocessors(&multiprocessors);
  if (error != cudaSuccess) return error;
  auto destination = static_cast<uint4*>(params->dst);
  auto source = static_cast<const uint4*>(params->src);
  int64_t chunks = params->bytes / kAlignment;
  void* kernel_parameters[] = {&destination, &source, &chunks};
  return cudaLaunchKernel(roofgate::ceiling_copy,
                          dim3(multiprocessors * roofgate::kCopyBlocksPerSm), dim3(kCopyThreads),
                          kernel_parameters, 0, static_cast<cudaStream_t>(stream));
}

int roofgate_ceiling_flops(roofgate_ceiling_flops_params* params, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  params->flop = 0.0;
  if (params->iterations < 0) return ROOFGATE_BAD_SHAPE;
  switch (params->dtype) {
    case ROOFGATE_BF16:
      return roofgate::launch_tensor_products<roofgate::ptx::Bf16>(params, cuda_stream);
    case ROOFGATE_FP16:
      return roofgate::launch_tensor_products<roofgate::ptx::Fp16>(params, cuda_stream);
    case ROOFGATE_FP32:
      return roofgate::launch_products(roofgate::ceiling_fma, roofgate::kFmaThreads,
                                       roofgate::kFmaBlocksPerSm, roofgate::kFmaFlop, params,
                                       cuda_stream);
    default:
      return ROOFGATE_UNSUPPORTED_DTYPE;
  }
}
