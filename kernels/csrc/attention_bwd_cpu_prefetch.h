// Asks for the rows of the query tile that is met next, a few lines at a time beside the
// arithmetic: all at once they would hold up every load behind them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "attention_bwd_cpu_mask.h"
#include "cpu_compiler.h"

namespace roofgate {
namespace {

class RowPrefetch {
 public:
  // kTileQueries rows of Q, of dO and of the sums of dQ; strides in elements.
  template <class Storage>
  void begin(const Storage* q, int64_t q_stride, const Storage* d_o, int64_t d_o_stride,
             const float* sums, int head_dim) {
    constexpr int64_t kBytes = sizeof(Storage);
    arrays_[0] = {reinterpret_cast<const char*>(q), q_stride * kBytes, head_dim * kBytes};
    arrays_[1] = {reinterpret_cast<const char*>(d_o), d_o_stride * kBytes, head_dim * kBytes};
    const int64_t sum_bytes = head_dim * int64_t{sizeof(float)};
    arrays_[2] = {reinterpret_cast<const char*>(sums), sum_bytes, sum_bytes};
    array_ = 0;
    row_ = 0;
  }

  // One row of one array.
  ROOFGATE_INLINE void step() {
    constexpr int kLineBytes = 64;
    if (row_ == kTileQueries) return;
    const Array& array = arrays_[array_];
    const char* const row = array.first + row_ * array.stride;
    for (int64_t byte = 0; byte < array.bytes; byte += kLineBytes) {
      __builtin_prefetch(row + byte, 0, 2);
    }
    if (++array_ < 3) return;
    array_ = 0;
    ++row_;
  }

 private:
  struct Array {
    const char* first;
    int64_t stride;  // bytes
    int64_t bytes;   // of a row
  };

  Array arrays_[3];
  int array_ = 0;
  int row_ = kTileQueries;
};

}  // namespace
}  // namespace roofgate
