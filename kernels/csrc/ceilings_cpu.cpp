// Entry points of the host ceilings: what memory and the multiply-add units of this machine reach.
#include "ceilings_cpu.h"

#include <string.h>

#include <algorithm>
#include <atomic>

#include "cpu_isa.h"
#include "cpu_thread_pool.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

constexpr int64_t kLineBytes = 64;
// Long enough that claiming a slice costs nothing, short enough to even out the threads.
constexpr int64_t kCopySliceBytes = 512 * 1024;
constexpr int64_t kFlopSlicesPerThread = 16;

const CeilingKernels& kernels_for(roofgate_isa isa, int32_t dtype) {
#if defined(__x86_64__)
  if (isa == ROOFGATE_ISA_AMX_BF16 && dtype == ROOFGATE_BF16) return kCeilingsAmxBf16;
  if (isa == ROOFGATE_ISA_AVX512_BF16 && dtype == ROOFGATE_BF16) return kCeilingsAvx512Bf16;
  if (isa >= ROOFGATE_ISA_AVX512) return kCeilingsAvx512;
  if (isa == ROOFGATE_ISA_AVX2) return kCeilingsAvx2;
#endif
  (void)isa, (void)dtype;
  return kCeilingsPortable;
}

struct CopyTask {
  const roofgate_ceiling_copy_params* params;
  const CeilingKernels* kernels;
};

void copy_slice(const void* context, int64_t item, void*) {
  const CopyTask& task = *static_cast<const CopyTask*>(context);
  const int64_t first = item * kCopySliceBytes;
  const int64_t bytes = std::min(kCopySliceBytes, task.params->bytes - first);
  task.kernels->copy(static_cast<char*>(task.params->dst) + first,
                     static_cast<const char*>(task.params->src) + first,
                     static_cast<size_t>(bytes));
}

struct FlopsTask {
  int64_t iterations;
  int64_t slices;
  const CeilingKernels* kernels;
  std::atomic<float>* sink;
};

void run_slice(const void* context, int64_t item, void*) {
  const FlopsTask& task = *static_cast<const FlopsTask*>(context);
  const int64_t first = task.iterations * item / task.slices;
  const int64_t end = task.iterations * (item + 1) / task.slices;
  task.sink->store(task.kernels->multiply_add(end - first), std::memory_order_relaxed);
}

bool is_line_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kLineBytes == 0;
}

}  // namespace
}  // namespace roofgate

extern "C" int roofgate_ceiling_copy(const roofgate_ceiling_copy_params* params, void*) {
  using namespace roofgate;
  if (params == nullptr || params->bytes < 0) return ROOFGATE_BAD_SHAPE;
  if (params->bytes == 0) return ROOFGATE_OK;
  if (params->dst == nullptr || params->src == nullptr) return ROOFGATE_BAD_SHAPE;
  if (params->bytes % kLineBytes != 0 || !is_line_aligned(params->dst) ||
      !is_line_aligned(params->src)) {
    return ROOFGATE_BAD_ALIGNMENT;
  }
  const CopyTask task{params, &kernels_for(best_isa(), ROOFGATE_FP32)};
  const int64_t slices = (params->bytes + kCopySliceBytes - 1) / kCopySliceBytes;
  return run_items(params->threads, slices, 0, copy_slice, &task);
}

extern "C" int roofgate_ceiling_flops(roofgate_ceiling_flops_params* params, void*) {
  using namespace roofgate;
  if (params == nullptr || params->sink == nullptr || params->iterations < 0) {
    return ROOFGATE_BAD_SHAPE;
  }
  if (params->dtype != ROOFGATE_BF16 && params->dtype != ROOFGATE_FP32) {
    return ROOFGATE_UNSUPPORTED_DTYPE;
  }
  roofgate_isa isa;
  if (const roofgate_status status = resolve_isa(params->isa, &isa)) return status;

  const CeilingKernels& kernels = kernels_for(isa, params->dtype);
  const int64_t threads = std::max(params->threads, 1);
  std::atomic<float> result{0.0f};
  const FlopsTask task{threads * params->iterations, threads * kFlopSlicesPerThread, &kernels,
                       &result};
  const roofgate_status status = run_items(params->threads, task.slices, 0, run_slice, &task);
  const float value = result.load();
  memcpy(params->sink, &value, sizeof value);
  params->flop = kernels.flop_per_iteration * static_cast<double>(task.iterations);
  return status;
}
