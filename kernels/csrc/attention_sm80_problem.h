// What the CUDA kernels, forward and backward, ask of a problem. Host code.
#pragma once

#include <cmath>
#include <cstdint>

#include "attention_mask.h"
#include "roofgate_abi.h"

namespace roofgate {

// Keeps sums of two positions, and of those of a tile, within 32 bits.
constexpr int32_t kMaxSeqlen = (1 << 30) - 1024;
constexpr int64_t kMaxThreadBlocks = 0x7fffffff;
constexpr int kCopyBytes = 16;

// Of a tensor of 16-bit elements [batch, heads, rows, head_dim]. Strides that are never used count
// for nothing: those of an extent of 1, and of the batch where the tensor holds sequences.
inline bool has_16_byte_rows(const void* tensor, const int64_t (&stride)[3], int32_t batch,
                             int32_t heads, int32_t rows) {
  if (batch == 0 || heads == 0 || rows == 0) return true;
  const int32_t extent[3] = {batch, heads, rows};
  bool aligned = reinterpret_cast<uintptr_t>(tensor) % kCopyBytes == 0;
  for (int i = 0; i < 3; ++i) {
    aligned = aligned && (extent[i] == 1 || stride[i] % (kCopyBytes / 2) == 0);
  }
  return aligned;
}

// The tensors of sequences have total_q rows, which is more than the longest sequence has, and two
// rows at least where there is more than one sequence with any.
inline bool has_16_byte_rows_like(const roofgate_attention_problem& problem, const void* tensor,
                                  const int64_t (&stride)[3], int32_t heads, int32_t seqlen) {
  if (problem.cu_seqlens_q == nullptr) {
    return has_16_byte_rows(tensor, stride, problem.batch, heads, seqlen);
  }
  const int32_t rows = seqlen > 0 && problem.batch > 1 ? seqlen + 1 : seqlen;
  return has_16_byte_rows(tensor, stride, problem.batch > 0 ? 1 : 0, heads, rows);
}

inline bool has_16_byte_rows_like_q(const roofgate_attention_problem& problem, const void* tensor,
                                    const int64_t (&stride)[3]) {
  return has_16_byte_rows_like(problem, tensor, stride, problem.heads_q, problem.seqlen_q);
}

inline bool has_16_byte_rows_like_k(const roofgate_attention_problem& problem, const void* tensor,
                                    const int64_t (&stride)[3]) {
  return has_16_byte_rows_like(problem, tensor, stride, problem.heads_kv, problem.seqlen_k);
}

// A roofgate_status. Bits of a plan are copied 16 bytes at a time.
inline int validate_mask(const roofgate_attention_problem& problem) {
  const bool window = problem.window_left >= 0 || problem.window_right >= 0;
  const bool sequences = problem.cu_seqlens_q != nullptr;
  if (sequences != (problem.cu_seqlens_k != nullptr)) return ROOFGATE_BAD_MASK;
  if (problem.window_left < -1 || problem.window_right < -1) return ROOFGATE_BAD_MASK;
  if (!(problem.softcap >= 0.0f && std::isfinite(problem.softcap))) return ROOFGATE_BAD_MASK;
  const roofgate_mask_plan& plan = problem.plan;
  if (plan.tiles == nullptr) return ROOFGATE_OK;
  if (window || sequences) return ROOFGATE_BAD_MASK;
  if (plan.query_order == nullptr || plan.key_order == nullptr) return ROOFGATE_BAD_MASK;
  const auto aligned = [](const uint64_t* bits) {
    return reinterpret_cast<uintptr_t>(bits) % kCopyBytes == 0;
  };
  return aligned(plan.query_bits) && aligned(plan.key_bits) ? ROOFGATE_OK : ROOFGATE_BAD_ALIGNMENT;
}

// A roofgate_status. head_dim is the caller's to check.
inline int validate_problem(const roofgate_attention_problem& problem) {
  if (problem.dtype != ROOFGATE_BF16 && problem.dtype != ROOFGATE_FP16) {
    return ROOFGATE_UNSUPPORTED_DTYPE;
  }
  if (problem.batch < 0 || problem.heads_q < 0 || problem.heads_kv < 0) return ROOFGATE_BAD_SHAPE;
  if (problem.heads_q > 0 && (problem.heads_kv == 0 || problem.heads_q % problem.heads_kv != 0)) {
    return ROOFGATE_BAD_SHAPE;
  }
  if (int64_t{problem.batch} * problem.heads_q > kMaxThreadBlocks) return ROOFGATE_BAD_SHAPE;
  if (problem.seqlen_q < 0 || problem.seqlen_q > kMaxSeqlen) return ROOFGATE_BAD_SHAPE;
  if (problem.seqlen_k < 0 || problem.seqlen_k > kMaxSeqlen) return ROOFGATE_BAD_SHAPE;
  // The kernels take the row maximum before they scale, so a negative scale would give them the
  // minimum.
  if (!(problem.scale >= 0.0f && std::isfinite(problem.scale))) return ROOFGATE_BAD_SCALE;
  const int status = validate_mask(problem);
  if (status != ROOFGATE_OK) return status;
  const bool aligned = has_16_byte_rows_like_q(problem, problem.q, problem.q_stride) &&
                       has_16_byte_rows_like_k(problem, problem.k, problem.k_stride) &&
                       has_16_byte_rows_like_k(problem, problem.v, problem.v_stride);
  return aligned ? ROOFGATE_OK : ROOFGATE_BAD_ALIGNMENT;
}

// The kernel that a problem needs.
inline MaskKind mask_kind(const roofgate_attention_problem& problem) {
  if (problem.softcap > 0.0f || problem.alibi_slopes != nullptr) return MaskKind::kAny;
  if (problem.plan.tiles != nullptr) return MaskKind::kPlan;
  const bool window = problem.window_left >= 0 || problem.window_right >= 0;
  return window ? MaskKind::kWindow : MaskKind::kFull;
}

}  // namespace roofgate
