// The checks that only Hopper's instructions need, as in planted_sm80.cu. Every kernel gets a
// tensor map of a 64 x 64 bf16 matrix with rows of 128 bytes, boxes of the whole matrix and the
// 128-byte swizzle; the same matrix in memory; an output of 64 x 64 floats; and a 64 x 64 bf16
// output.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kRows = 64;
constexpr int kTileBytes = kRows * 128;
constexpr int kThreads = 128;

struct alignas(64) TensorMap {
  char bytes[128];
};

__device__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ void mbarrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

__device__ void mbarrier_expect(uint64_t* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

__device__ void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

__device__ void mbarrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

__device__ void load_tile(void* tile, const TensorMap* map, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(tile)),
      "l"(map), "r"(0), "r"(0), "r"(shared_address(barrier))
      : "memory");
}

__device__ void store_tile(const TensorMap* map, const void* tile) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
      "r"(0), "r"(0), "r"(shared_address(tile))
      : "memory");
}

__device__ void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ uint64_t descriptor(uint32_t address) {
  return (address & 0x3ffffu) / 16 | uint64_t{1} << 16 | uint64_t{1024 / 16} << 32 |
         uint64_t{1} << 62;
}

__device__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

// D[64, 8] (+)= A[64, 16] B[8, 16]^T
__device__ void product(float (&d)[4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, "
      "0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "l"(a), "l"(b)
      : "memory");
}

struct Arguments {
  const TensorMap* map;
  const uint16_t* matrix;
  float* out;
};

// Starts loading the tile with TMA, for an mbarrier that expects this many bytes.
__device__ void start_load(uint16_t* tile, uint64_t* barrier, const TensorMap* map, int bytes) {
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    fence_mbarrier_init();
    fence_async_proxy();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_expect(barrier, bytes);
    load_tile(tile, map, barrier);
  }
}

__device__ void load_and_wait(uint16_t* tile, uint64_t* barrier, const TensorMap* map) {
  start_load(tile, barrier, map, kTileBytes);
  mbarrier_wait(barrier, 0);
}

__device__ void write_out(float* out, const float (&d)[4]) {
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = d[i];
}

template <bool planted>
__device__ void copy_in_flight_tensor_load(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  __shared__ uint64_t barrier;
  start_load(tile, &barrier, arguments.map, kTileBytes);
  if (!planted) mbarrier_wait(&barrier, 0);
  arguments.out[threadIdx.x] = tile[threadIdx.x];
  if (planted) mbarrier_wait(&barrier, 0);
}

// A transaction count that never reaches zero.
template <bool planted>
__device__ void deadlock_transaction_bytes(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  __shared__ uint64_t barrier;
  start_load(tile, &barrier, arguments.map, kTileBytes + (planted ? 16 : 0));
  mbarrier_wait(&barrier, 0);
  arguments.out[threadIdx.x] = tile[threadIdx.x];
}

// One arrival that counts for more than are expected.
template <bool planted>
__device__ void mbarrier_too_many_arrivals(const Arguments& arguments) {
  __shared__ uint64_t barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, kThreads);
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
                 "n"(planted ? kThreads + 1 : kThreads)
                 : "memory");
    mbarrier_wait(&barrier, 0);
  }
  arguments.out[threadIdx.x] = 1.0f;
}

template <bool planted>
__device__ void mbarrier_not_initialised(const Arguments& arguments) {
  __shared__ uint64_t barrier;
  if (!planted && threadIdx.x == 0) mbarrier_init(&barrier, kThreads);
  __syncthreads();
  mbarrier_arrive(&barrier);
  mbarrier_wait(&barrier, 0);
  arguments.out[threadIdx.x] = 1.0f;
}

// Ordinary stores, then a product: the tensor cores read through the asynchronous proxy.
template <bool planted>
__device__ void proxy_fence_before_product(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  for (int i = threadIdx.x; i < kTileBytes / 2; i += kThreads) tile[i] = arguments.matrix[i];
  if (!planted) fence_async_proxy();
  __syncthreads();
  float d[4] = {};
  const uint64_t operand = descriptor(shared_address(tile));
  wgmma_fence();
  product(d, operand, operand);
  wgmma_commit();
  wgmma_wait();
  write_out(arguments.out, d);
}

// Ordinary stores, then a TMA store.
template <bool planted>
__device__ void proxy_fence_before_tensor_store(const Arguments& arguments,
                                                const TensorMap* out_map) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  for (int i = threadIdx.x; i < kTileBytes / 2; i += kThreads) tile[i] = arguments.matrix[i];
  if (!planted) fence_async_proxy();
  __syncthreads();
  if (threadIdx.x == 0) {
    store_tile(out_map, tile);
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}

// The source of a TMA store is overwritten while it may still be read.
template <bool planted>
__device__ void copy_in_flight_tensor_store(const Arguments& arguments, const TensorMap* out_map) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  for (int i = threadIdx.x; i < kTileBytes / 2; i += kThreads) tile[i] = arguments.matrix[i];
  fence_async_proxy();
  __syncthreads();
  if (threadIdx.x == 0) {
    store_tile(out_map, tile);
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    if (!planted) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  }
  __syncthreads();
  tile[threadIdx.x] = 0;
  if (threadIdx.x == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Sums read before the product is waited for.
template <bool planted>
__device__ void wgmma_accumulator_too_early(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  __shared__ uint64_t barrier;
  load_and_wait(tile, &barrier, arguments.map);
  float d[4] = {};
  const uint64_t operand = descriptor(shared_address(tile));
  wgmma_fence();
  product(d, operand, operand);
  wgmma_commit();
  if (!planted) wgmma_wait();
  write_out(arguments.out, d);
  if (planted) wgmma_wait();
}

// The stage is given back to the loader before its product is done.
template <bool planted>
__device__ void wgmma_operand_overwritten(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  __shared__ uint64_t barrier;
  load_and_wait(tile, &barrier, arguments.map);
  float d[4] = {};
  const uint64_t operand = descriptor(shared_address(tile));
  wgmma_fence();
  product(d, operand, operand);
  wgmma_commit();
  if (!planted) wgmma_wait();
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_expect(&barrier, kTileBytes);
    load_tile(tile, arguments.map, &barrier);
  }
  mbarrier_wait(&barrier, 1);
  if (planted) wgmma_wait();
  write_out(arguments.out, d);
}

// Registers that the product adds to were written without a fence after.
template <bool planted>
__device__ void wgmma_missing_fence(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  __shared__ uint64_t barrier;
  load_and_wait(tile, &barrier, arguments.map);
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = arguments.out[threadIdx.x * 4 + i];
  const uint64_t operand = descriptor(shared_address(tile));
  if (!planted) wgmma_fence();
  product(d, operand, operand);
  wgmma_commit();
  wgmma_wait();
  write_out(arguments.out, d);
}

// The tensor map swizzles; the destination is not aligned to what a swizzle needs.
template <bool planted>
__device__ void tensor_copy_misaligned_destination(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2 + 64];
  __shared__ uint64_t barrier;
  load_and_wait(tile + (planted ? 8 : 0), &barrier, arguments.map);
  arguments.out[threadIdx.x] = tile[threadIdx.x];
}

// The address of something else is given as that of a tensor map.
template <bool planted>
__device__ void tensor_copy_not_a_map(const Arguments& arguments) {
  __shared__ __align__(1024) uint16_t tile[kTileBytes / 2];
  __shared__ uint64_t barrier;
  const void* const map = planted ? static_cast<const void*>(arguments.matrix) : arguments.map;
  load_and_wait(tile, &barrier, static_cast<const TensorMap*>(map));
  arguments.out[threadIdx.x] = tile[threadIdx.x];
}

// A block reads its neighbour's shared memory, which may not have been written yet.
template <bool planted>
__device__ void shared_race_in_cluster(const Arguments& arguments) {
  __shared__ float tile[kThreads];
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  tile[threadIdx.x] = rank + threadIdx.x;
  if (!planted) {
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
  }
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(remote)
               : "r"(shared_address(&tile[threadIdx.x])), "r"(rank ^ 1u));
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(remote) : "memory");
  arguments.out[rank * kThreads + threadIdx.x] = value;
  asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

}  // namespace

#define ROOFGATE_PLANTED_KERNEL(name, suffix, planted)                                  \
  extern "C" __global__ void __launch_bounds__(kThreads) name##suffix(                  \
      const __grid_constant__ TensorMap map, const __grid_constant__ TensorMap out_map, \
      const uint16_t* matrix, float* out) {                                             \
    (void)out_map;                                                                      \
    name<planted>(Arguments{&map, matrix, out});                                        \
  }
#define ROOFGATE_PLANTED_STORE(name, suffix, planted)                                   \
  extern "C" __global__ void __launch_bounds__(kThreads) name##suffix(                  \
      const __grid_constant__ TensorMap map, const __grid_constant__ TensorMap out_map, \
      const uint16_t* matrix, float* out) {                                             \
    name<planted>(Arguments{&map, matrix, out}, &out_map);                              \
  }
#define ROOFGATE_PLANTED(name)                   \
  ROOFGATE_PLANTED_KERNEL(name, _correct, false) \
  ROOFGATE_PLANTED_KERNEL(name, _planted, true)

ROOFGATE_PLANTED(copy_in_flight_tensor_load)
ROOFGATE_PLANTED(deadlock_transaction_bytes)
ROOFGATE_PLANTED(mbarrier_too_many_arrivals)
ROOFGATE_PLANTED(mbarrier_not_initialised)
ROOFGATE_PLANTED(proxy_fence_before_product)
ROOFGATE_PLANTED_STORE(proxy_fence_before_tensor_store, _correct, false)
ROOFGATE_PLANTED_STORE(proxy_fence_before_tensor_store, _planted, true)
ROOFGATE_PLANTED_STORE(copy_in_flight_tensor_store, _correct, false)
ROOFGATE_PLANTED_STORE(copy_in_flight_tensor_store, _planted, true)
ROOFGATE_PLANTED(wgmma_accumulator_too_early)
ROOFGATE_PLANTED(wgmma_operand_overwritten)
ROOFGATE_PLANTED(wgmma_missing_fence)
ROOFGATE_PLANTED(tensor_copy_misaligned_destination)
ROOFGATE_PLANTED(tensor_copy_not_a_map)
ROOFGATE_PLANTED(shared_race_in_cluster)
