// What the host kernels, forward and backward, ask of a problem.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "roofgate_abi.h"

namespace roofgate {

inline bool is_aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

inline roofgate_status check_shape(const roofgate_attention_problem& p) {
  if (p.batch < 0 || p.heads_q < 0 || p.heads_kv < 0 || p.seqlen_q < 0 || p.seqlen_k < 0) {
    return ROOFGATE_BAD_SHAPE;
  }
  if (p.heads_q > 0 && (p.heads_kv == 0 || p.heads_q % p.heads_kv != 0)) return ROOFGATE_BAD_SHAPE;
  return ROOFGATE_OK;
}

// Host memory, so the offsets themselves can be held to the sizes of the tensors.
inline roofgate_status check_sequences(const roofgate_attention_problem& p) {
  if (p.cu_seqlens_q == nullptr) return ROOFGATE_OK;
  if (p.cu_seqlens_q[0] < 0 || p.cu_seqlens_k[0] < 0) return ROOFGATE_BAD_SHAPE;
  for (int32_t b = 0; b < p.batch; ++b) {
    const int64_t queries = int64_t{p.cu_seqlens_q[b + 1]} - p.cu_seqlens_q[b];
    const int64_t keys = int64_t{p.cu_seqlens_k[b + 1]} - p.cu_seqlens_k[b];
    if (queries < 0 || keys < 0 || queries > p.seqlen_q || keys > p.seqlen_k) {
      return ROOFGATE_BAD_SHAPE;
    }
  }
  return p.cu_seqlens_q[p.batch] > p.total_q ? ROOFGATE_BAD_SHAPE : ROOFGATE_OK;
}

inline roofgate_status check_mask(const roofgate_attention_problem& p) {
  const bool has_sequences = p.cu_seqlens_q != nullptr;
  const bool has_window = p.window_left != -1 || p.window_right != -1;
  if (has_sequences != (p.cu_seqlens_k != nullptr)) return ROOFGATE_BAD_MASK;
  if (p.window_left < -1 || p.window_right < -1) return ROOFGATE_BAD_MASK;
  if (!(p.softcap >= 0) || isinf(p.softcap)) return ROOFGATE_BAD_MASK;
  if (p.plan.tiles == nullptr) return ROOFGATE_OK;
  // Without a partial tile nobody reads the bits, and without an order the items come as they lie.
  return has_sequences || has_window ? ROOFGATE_BAD_MASK : ROOFGATE_OK;
}

// Everything but the pointers, which each pass checks with those of its own.
inline roofgate_status check_problem(const roofgate_attention_problem& p) {
  constexpr int32_t kHeadDimGranule = 16;
  constexpr int32_t kLargestHeadDim = 256;
  if (p.dtype != ROOFGATE_BF16 && p.dtype != ROOFGATE_FP32) return ROOFGATE_UNSUPPORTED_DTYPE;
  if (p.head_dim < kHeadDimGranule || p.head_dim > kLargestHeadDim ||
      p.head_dim % kHeadDimGranule != 0) {
    return ROOFGATE_UNSUPPORTED_HEAD_DIM;
  }
  if (const roofgate_status status = check_shape(p)) return status;
  if (const roofgate_status status = check_mask(p)) return status;
  return check_sequences(p);
}

}  // namespace roofgate
