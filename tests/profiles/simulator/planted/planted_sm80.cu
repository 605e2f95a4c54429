// One kernel per check, each twice: as it should be, and with one mistake planted. Every kernel
// gets the same arguments: an array to read, an array to write, and the number of their elements.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kThreads = 128;

__device__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ void copy_16(void* destination, const void* source) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               :
               : "r"(shared_address(destination)), "l"(source)
               : "memory");
}

__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int pending>
__device__ void wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Reversing an array in shared memory needs a barrier between the stores and the loads.
template <bool planted>
__device__ void shared_race_missing_barrier(const float* in, float* out, int) {
  __shared__ float tile[kThreads];
  tile[threadIdx.x] = in[threadIdx.x];
  if (!planted) __syncthreads();
  out[threadIdx.x] = tile[kThreads - 1 - threadIdx.x];
}

// The next round's stores overwrite what slower warps still read.
template <bool planted>
__device__ void shared_race_missing_second_barrier(const float* in, float* out, int) {
  __shared__ float tile[kThreads];
  float sum = 0;
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = in[threadIdx.x] + round;
    __syncthreads();
    sum += tile[kThreads - 1 - threadIdx.x];
    if (!planted) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

// All threads write one word of shared memory, one of them without being alone.
template <bool planted>
__device__ void shared_race_write_write(const float* in, float* out, int) {
  __shared__ float slot;
  if (planted ? threadIdx.x % 32 == 0 : threadIdx.x == 0) slot = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = slot;
}

// A copy that nobody waits for. The barrier does not help.
template <bool planted>
__device__ void copy_in_flight_missing_wait(const float* in, float* out, int) {
  __shared__ __align__(16) float tile[kThreads * 4];
  copy_16(&tile[threadIdx.x * 4], in + threadIdx.x % 32 * 4);
  commit();
  if (!planted) wait<0>();
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x * 4 + 1];
}

// Two groups are under way; the second is used after waiting for the first.
template <bool planted>
__device__ void copy_in_flight_wrong_group(const float* in, float* out, int) {
  __shared__ __align__(16) float first[kThreads * 4];
  __shared__ __align__(16) float second[kThreads * 4];
  copy_16(&first[threadIdx.x * 4], in + threadIdx.x % 32 * 4);
  commit();
  copy_16(&second[threadIdx.x * 4], in + threadIdx.x % 32 * 4);
  commit();
  wait<planted ? 1 : 0>();
  __syncthreads();
  out[threadIdx.x] = first[threadIdx.x * 4] + second[threadIdx.x * 4];
}

// Waiting makes a thread's own copies visible to itself alone: others need a barrier too.
template <bool planted>
__device__ void shared_race_copy_without_barrier(const float* in, float* out, int) {
  __shared__ __align__(16) float tile[kThreads * 4];
  copy_16(&tile[threadIdx.x * 4], in + threadIdx.x % 32 * 4);
  commit();
  wait<0>();
  if (!planted) __syncthreads();
  out[threadIdx.x] = tile[(kThreads - 1 - threadIdx.x) * 4];
}

// Every block adds to one number.
template <bool planted>
__device__ void global_race_between_blocks(const float* in, float* out, int) {
  if (threadIdx.x != 0) return;
  if (planted) {
    out[0] += in[blockIdx.x];
  } else {
    atomicAdd(out, in[blockIdx.x]);
  }
}

// The last block that arrives sums what all have written: the fence orders the sums before the
// count.
template <bool planted>
__device__ void global_race_missing_fence(const float* in, float* out, int) {
  if (threadIdx.x != 0) return;
  out[1 + blockIdx.x] = in[blockIdx.x];
  if (!planted) __threadfence();
  const unsigned arrived = atomicAdd(reinterpret_cast<unsigned*>(out), 1u);
  if (arrived != gridDim.x - 1) return;
  if (!planted) __threadfence();
  float sum = 0;
  for (unsigned block = 0; block < gridDim.x; ++block) sum += out[1 + block];
  out[40] = sum;
}

// Warps of one block exchange data through global memory.
template <bool planted>
__device__ void global_race_within_block(const float* in, float* out, int) {
  float* mine = out + blockIdx.x * kThreads;
  mine[threadIdx.x] = in[threadIdx.x];
  if (!planted) __syncthreads();
  const float other = mine[(threadIdx.x + 32) % kThreads];
  __syncthreads();
  mine[threadIdx.x] = other;
}

template <bool planted>
__device__ void uninitialised_shared_gap(const float* in, float* out, int) {
  __shared__ float tile[kThreads];
  if (!planted || threadIdx.x < kThreads - 1) tile[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = tile[kThreads - 1 - threadIdx.x];
}

template <bool planted>
__device__ void out_of_bounds_global_read(const float* in, float* out, int elements) {
  out[threadIdx.x] = in[elements - kThreads + threadIdx.x + (planted ? 1 : 0)];
}

template <bool planted>
__device__ void out_of_bounds_global_write(const float* in, float* out, int elements) {
  out[elements - kThreads + threadIdx.x + (planted ? 1 : 0)] = in[threadIdx.x];
}

template <bool planted>
__device__ void out_of_bounds_shared(const float* in, float* out, int elements) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  // The number of elements is far beyond the tile.
  out[threadIdx.x] = tile[planted ? threadIdx.x + elements : threadIdx.x];
}

template <bool planted>
__device__ void misaligned_vector(const float* in, float* out, int) {
  const float* start = in + threadIdx.x % 8 * 4 + (planted ? 1 : 0);
  const float4 value = *reinterpret_cast<const float4*>(start);
  out[threadIdx.x] = value.x + value.w;
}

// Half of a warp shuffles under a mask that names all of it, while the other half waits elsewhere.
template <bool planted>
__device__ void divergence_shuffle(const float* in, float* out, int) {
  float value = in[threadIdx.x];
  if (!planted || threadIdx.x % 32 < 16) {
    value += __shfl_xor_sync(0xffffffffu, value, 1);
  }
  __syncwarp();
  out[threadIdx.x] = value;
}

// A barrier for the whole block within a branch that part of a warp takes.
template <bool planted>
__device__ void divergence_barrier(const float* in, float* out, int) {
  __shared__ float tile[kThreads];
  tile[threadIdx.x] = in[threadIdx.x];
  if (planted) {
    if (in[threadIdx.x] >= 0.0f && threadIdx.x % 32 < 16) {
      asm volatile("bar.sync 0;" ::: "memory");
      tile[threadIdx.x] = 1.0f;
    } else {
      tile[threadIdx.x] = 2.0f;
    }
  }
  asm volatile("bar.sync 0;" ::: "memory");
  out[threadIdx.x] = tile[threadIdx.x];
}

// Half of the block expects all of it at a barrier, the other half three quarters.
template <bool planted>
__device__ void barrier_sizes(const float* in, float* out, int) {
  if (threadIdx.x < 64 || !planted) {
    asm volatile("bar.sync 1, 128;" ::: "memory");
  } else {
    asm volatile("bar.sync 1, 96;" ::: "memory");
  }
  out[threadIdx.x] = in[threadIdx.x];
}

// A named barrier for 128 threads at which only 96 arrive.
template <bool planted>
__device__ void deadlock_named_barrier(const float* in, float* out, int) {
  if (!planted || threadIdx.x < 96) asm volatile("bar.sync 3, 128;" ::: "memory");
  out[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
}

// Waits for a flag that nobody sets.
template <bool planted>
__device__ void endless_flag(const float* in, float* out, int) {
  volatile float* flag = out;
  if (threadIdx.x == 0) *flag = 1.0f;
  __syncthreads();
  if (threadIdx.x == 0) {
    while (*flag != (planted ? 2.0f : 1.0f)) {
    }
  }
  out[1 + threadIdx.x] = in[threadIdx.x];
}

}  // namespace

#define ROOFGATE_PLANTED(name)                                                           \
  extern "C" __global__ void name##_correct(const float* in, float* out, int elements) { \
    name<false>(in, out, elements);                                                      \
  }                                                                                      \
  extern "C" __global__ void name##_planted(const float* in, float* out, int elements) { \
    name<true>(in, out, elements);                                                       \
  }

ROOFGATE_PLANTED(shared_race_missing_barrier)
ROOFGATE_PLANTED(shared_race_missing_second_barrier)
ROOFGATE_PLANTED(shared_race_write_write)
ROOFGATE_PLANTED(copy_in_flight_missing_wait)
ROOFGATE_PLANTED(copy_in_flight_wrong_group)
ROOFGATE_PLANTED(shared_race_copy_without_barrier)
ROOFGATE_PLANTED(global_race_between_blocks)
ROOFGATE_PLANTED(global_race_missing_fence)
ROOFGATE_PLANTED(global_race_within_block)
ROOFGATE_PLANTED(uninitialised_shared_gap)
ROOFGATE_PLANTED(out_of_bounds_global_read)
ROOFGATE_PLANTED(out_of_bounds_global_write)
ROOFGATE_PLANTED(out_of_bounds_shared)
ROOFGATE_PLANTED(misaligned_vector)
ROOFGATE_PLANTED(divergence_shuffle)
ROOFGATE_PLANTED(divergence_barrier)
ROOFGATE_PLANTED(barrier_sizes)
ROOFGATE_PLANTED(deadlock_named_barrier)
ROOFGATE_PLANTED(endless_flag)
