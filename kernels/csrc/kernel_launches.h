// What each CUDA source says of its launches; status_cuda.cu joins them.
#pragma once

#include "roofgate_abi.h"

namespace roofgate {

struct KernelLaunches {
  const roofgate_kernel_launch_facts* facts;
  int count;
};

template <int count>
constexpr KernelLaunches kernel_launches(const roofgate_kernel_launch_facts (&facts)[count]) {
  return {facts, count};
}

KernelLaunches attention_fwd_launches();
KernelLaunches attention_bwd_launches();
KernelLaunches ceiling_launches();

}  // namespace roofgate
