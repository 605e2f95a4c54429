// Kernels that the compiler complains about. tests/profiles/logs holds what it says, as
// compile_logs.sh there writes it.
__device__ __noinline__ float product(const float* values, int n) {
  float r[96];
  for (int i = 0; i < 96; ++i) r[i] = values[i];
  for (int k = 0; k < n; ++k)
    for (int i = 0; i < 96; ++i) r[i] = r[i] * r[(i + 7) % 96] + values[k];
  float sum = 0;
  for (int i = 0; i < 96; ++i) sum += r[i] * values[i + 3];
  return sum;
}

// 1024 threads leave 64 registers each.
__global__ void __launch_bounds__(1024) spilling(float* p, int n) {
  float r[96];
  for (int i = 0; i < 96; ++i) r[i] = p[i * 1024 + threadIdx.x];
  for (int k = 0; k < n; ++k)
    for (int i = 0; i < 96; ++i) r[i] = r[i] * r[(i + 7) % 96] + p[k];
  for (int i = 0; i < 96; ++i) p[i * 1024 + threadIdx.x] = r[i];
}

// Its own lines report no spill: the function that it calls does.
__global__ void __launch_bounds__(1024) calls_spilling(float* p, int n) {
  p[threadIdx.x] = product(p, n);
}

// 2048 threads per multiprocessor: sm_86 and sm_89 hold 1536.
__global__ void __launch_bounds__(1024, 2) too_many_blocks(float* p) {
  __shared__ float copies[1024];
  copies[threadIdx.x] = p[threadIdx.x];
  __syncthreads();
  p[threadIdx.x] = copies[threadIdx.x ^ 1];
}

__global__ void plain(float* p) {
  int never_used;
  p[threadIdx.x] = 1;
}
