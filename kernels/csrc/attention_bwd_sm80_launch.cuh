// The launch of the main backward kernel. Each source file that includes this makes the instances
// of one type and head_dim, so that they compile side by side.
#pragma once

#include <cuda_runtime.h>

#include "attention_bwd_sm80_kernel.cuh"
#include "attention_bwd_sm80_launches.h"

namespace roofgate {

template <class Config>
int launch_instance(AttentionBackwardArguments arguments, unsigned blocks, cudaStream_t stream) {
  const auto kernel = attention_bwd_sm80<Config>;
  // Holds for the current device only, so it is not remembered from call to call.
  const cudaError_t asked = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Config::kSharedBytes);
  if (asked != cudaSuccess) return asked;
  void* kernel_parameters[] = {&arguments};
  return cudaLaunchKernel(kernel, dim3(blocks), dim3(Config::kThreads), kernel_parameters,
                          Config::kSharedBytes, stream);
}

template <class Element, int head_dim>
int launch_main(MaskKind kind, const AttentionBackwardArguments& arguments, unsigned blocks,
                cudaStream_t stream) {
  switch (kind) {
    case MaskKind::kFull:
      return launch_instance<AttentionBackward<Element, head_dim, MaskKind::kFull>>(arguments,
                                                                                    blocks, stream);
    case MaskKind::kWindow:
      return launch_instance<AttentionBackward<Element, head_dim, MaskKind::kWindow>>(
          arguments, blocks, stream);
    case MaskKind::kPlan:
      return launch_instance<AttentionBackward<Element, head_dim, MaskKind::kPlan>>(arguments,
                                                                                    blocks, stream);
    case MaskKind::kAny:
      return launch_instance<AttentionBackward<Element, head_dim, MaskKind::kAny>>(arguments,
                                                                                   blocks, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace roofgate
