// Which keys the rows of a tile see: the masks of roofgate_attention_problem as index logic,
// without arithmetic on scores. Forward and backward share it.
//
// Rows: the query heads of a KV head form one matrix, so that they share its keys: row = position *
// group + query head within the group. A RowMask is made once for up to kRows neighbouring rows and
// then asked about kMaskKeys keys at a time: none of them is visible, all are, or some. Only in the
// last case there are bits to apply, whatever kind of mask they come from: the ends of a window and
// of the sequence, or a plan.
#pragma once

#include <stdint.h>

#include "cpu_compiler.h"
#include "roofgate_abi.h"

namespace roofgate {
// Unnamed like all that is compiled once for each instruction set: attention_fwd_cpu_tile.h says
// why.
namespace {

constexpr int kMaskKeys = ROOFGATE_PLAN_TILE;  // keys of one question; their first is a multiple

// One sequence of the batch.
struct Sequence {
  int64_t first_query;  // position in Q, O and the LSE where it begins; 0 without cu_seqlens
  int64_t first_key;    // position in K and V
  int32_t queries;
  int32_t keys;
};

ROOFGATE_INLINE Sequence sequence_at(const roofgate_attention_problem& problem, int64_t batch) {
  if (problem.cu_seqlens_q == nullptr) return {0, 0, problem.seqlen_q, problem.seqlen_k};
  const int32_t* const q = problem.cu_seqlens_q + batch;
  const int32_t* const k = problem.cu_seqlens_k + batch;
  return {q[0], k[0], q[1] - q[0], k[1] - k[0]};
}

// Consecutive keys of a sequence; none where end <= first.
struct KeyRange {
  int64_t first;
  int64_t end;
};

// The keys that the query at `position` sees through the window.
ROOFGATE_INLINE KeyRange window_of(const roofgate_attention_problem& problem,
                                   const Sequence& sequence, int64_t position) {
  const int64_t diagonal = position + sequence.keys - sequence.queries;
  KeyRange range = {0, sequence.keys};
  if (problem.window_left >= 0 && diagonal - problem.window_left > 0) {
    range.first = diagonal - problem.window_left;
  }
  if (problem.window_right >= 0 && diagonal + problem.window_right + 1 < range.end) {
    range.end = diagonal + problem.window_right + 1;
  }
  return range;
}

// A row of a KV head's matrix. Walked rather than computed for each row: 64-bit divisions by the
// group would cost as much as all else that is done once for a row.
class RowCursor {
 public:
  RowCursor(int64_t row, int group)
      : position_(row / group), group_(group), in_group_(static_cast<int>(row % group)) {}

  int64_t position() const { return position_; }
  int query_head_in_group() const { return in_group_; }

  ROOFGATE_INLINE void advance() {
    if (++in_group_ < group_) return;
    in_group_ = 0;
    ++position_;
  }

 private:
  int64_t position_;
  int group_;
  int in_group_;
};

enum class Visibility { kNone, kSome, kAll };

// The bits of kMaskKeys keys: row r sees key k where bit k % 32 of halves[k / 32][r] is set.
// Halves, since a vector of 32-bit lanes takes a vector of rows then.
template <int kRows>
struct MaskBits {
  alignas(64) uint32_t halves[kMaskKeys / 32][kRows];
  int first_key;  // the keys outside [first_key, end_key) of the 64 are visible to no row
  int end_key;
};

template <int kRows>
class RowMask {
 public:
  // Rows [first_row, first_row + rows) of a KV head, with rows <= kRows. Rows past these see
  // nothing and do not count.
  void select(const roofgate_attention_problem& problem, const Sequence& sequence, int64_t batch,
              int64_t head_kv, int64_t first_row, int rows) {
    rows_ = rows;
    has_plan_ = problem.plan.tiles != nullptr;
    keys_ = {INT32_MAX, 0};
    const int group = problem.heads_q / problem.heads_kv;
    if (has_plan_) {
      select_plan(problem, sequence, batch, head_kv, first_row, group);
    } else {
      select_window(problem, sequence, first_row, group);
    }
  }

  // Every visible key lies within.
  KeyRange keys() const { return keys_; }

  // Whether any row sees one of the keys [key, key + kMaskKeys). `key` is a multiple of kMaskKeys.
  ROOFGATE_INLINE bool sees(int64_t key) const {
    if (key >= keys_.end || key + kMaskKeys <= keys_.first) return false;
    if (!has_plan_) return true;
    for (int line = 0; line < lines_; ++line) {
      if (line_[line][key / kMaskKeys] != ROOFGATE_TILE_EMPTY) return true;
    }
    return false;
  }

  // The same with the particulars; `bits` are written where it is kSome.
  ROOFGATE_INLINE Visibility look(int64_t key, MaskBits<kRows>& bits) const {
    if (!sees(key)) return Visibility::kNone;
    if (sees_all(key)) return Visibility::kAll;
    return write_bits(key, bits) ? Visibility::kSome : Visibility::kNone;
  }

 private:
  void select_window(const roofgate_attention_problem& problem, const Sequence& sequence,
                     int64_t first_row, int group) {
    common_keys_ = {0, INT64_MAX};
    RowCursor cursor(first_row, group);
    for (int row = 0; row < rows_; ++row, cursor.advance()) {
      const KeyRange range = window_of(problem, sequence, cursor.position());
      const bool sees_none = range.first >= range.end;
      row_first_[row] = sees_none ? 0 : range.first;
      row_end_[row] = sees_none ? 0 : range.end;
      if (sees_none || range.first > common_keys_.first) common_keys_.first = range.first;
      if (sees_none || range.end < common_keys_.end) common_keys_.end = range.end;
      if (sees_none) continue;
      if (range.first < keys_.first) keys_.first = range.first;
      if (range.end > keys_.end) keys_.end = range.end;
    }
    for (int row = rows_; row < kRows; ++row) row_first_[row] = row_end_[row] = 0;
  }

  // Rows of one head and of the same 64 positions share a line of the plan.
  void select_plan(const roofgate_attention_problem& problem, const Sequence& sequence,
                   int64_t batch, int64_t head_kv, int64_t first_row, int group) {
    const roofgate_mask_plan& plan = problem.plan;
    const int64_t tiles_k = (int64_t{sequence.keys} + kMaskKeys - 1) / kMaskKeys;
    const int32_t* const tiles = plan.tiles + batch * plan.tiles_stride[0];
    const int period = plan.tiles_stride[1] == 0 ? 1 : group;
    query_bits_ = plan.query_bits;
    keys_ = {0, rows_ > 0 ? int64_t{sequence.keys} : 0};
    lines_ = 0;
    RowCursor cursor(first_row, group);
    for (int row = 0; row < rows_; ++row, cursor.advance()) {
      const int64_t position = cursor.position();
      const int64_t head = head_kv * group + cursor.query_head_in_group();
      const int32_t* const line =
          tiles + head * plan.tiles_stride[1] + position / kMaskKeys * tiles_k;
      query_in_tile_[row] = static_cast<uint8_t>(position % kMaskKeys);
      const bool is_known = row >= period && line_[line_of_row_[row - period]] == line;
      line_of_row_[row] = is_known ? line_of_row_[row - period] : static_cast<uint8_t>(lines_);
      if (!is_known) line_[lines_++] = line;
    }
  }

  ROOFGATE_INLINE bool sees_all(int64_t key) const {
    if (!has_plan_) return key >= common_keys_.first && key + kMaskKeys <= common_keys_.end;
    bool all = true;
    for (int line = 0; line < lines_; ++line) {
      all &= line_[line][key / kMaskKeys] == ROOFGATE_TILE_FULL;
    }
    return all;
  }

  // False where no bit is set.
  ROOFGATE_NOINLINE bool write_bits(int64_t key, MaskBits<kRows>& bits) const {
    const uint64_t any = has_plan_ ? write_plan_bits(key, bits) : write_window_bits(key, bits);
    if (any == 0) return false;
    bits.first_key = __builtin_ctzll(any);
    bits.end_key = kMaskKeys - __builtin_clzll(any);
    return true;
  }

  // Without a branch, so that the compiler takes several rows at once: a window has partial tiles
  // on both edges of every row of tiles.
  ROOFGATE_INLINE uint64_t write_window_bits(int64_t key, MaskBits<kRows>& bits) const {
    uint64_t any = 0;
    for (int row = 0; row < kRows; ++row) {
      const uint64_t word = bits_from(row_first_[row] - key) & ~bits_from(row_end_[row] - key);
      bits.halves[0][row] = static_cast<uint32_t>(word);
      bits.halves[1][row] = static_cast<uint32_t>(word >> 32);
      any |= word;
    }
    return any;
  }

  // Bits `first` to 63, whatever `first` is.
  static ROOFGATE_INLINE uint64_t bits_from(int64_t first) {
    const int64_t at_least_zero = first < 0 ? 0 : first;
    const uint64_t shifted = ~uint64_t{0} << (at_least_zero & (kMaskKeys - 1));
    return at_least_zero < kMaskKeys ? shifted : 0;
  }

  ROOFGATE_INLINE uint64_t write_plan_bits(int64_t key, MaskBits<kRows>& bits) const {
    uint64_t any = 0;
    for (int row = 0; row < kRows; ++row) {
      const uint64_t word = row < rows_ ? plan_word(row, key) : 0;
      bits.halves[0][row] = static_cast<uint32_t>(word);
      bits.halves[1][row] = static_cast<uint32_t>(word >> 32);
      any |= word;
    }
    return any;
  }

  ROOFGATE_INLINE uint64_t plan_word(int row, int64_t key) const {
    const int32_t tile = line_[line_of_row_[row]][key / kMaskKeys];
    if (tile == ROOFGATE_TILE_EMPTY) return 0;
    if (tile == ROOFGATE_TILE_FULL) return ~uint64_t{0};
    const int64_t number = int64_t{tile} - ROOFGATE_TILE_PARTIAL;
    return query_bits_[number * ROOFGATE_PLAN_TILE + query_in_tile_[row]];
  }

  static_assert(kRows <= 256, "a row's number, and that of its line, fit in a byte");

  int rows_ = 0;
  bool has_plan_ = false;
  KeyRange keys_ = {0, 0};
  // Without a plan:
  KeyRange common_keys_ = {0, 0};  // that all rows see
  int64_t row_first_[kRows];
  int64_t row_end_[kRows];
  // With one:
  const uint64_t* query_bits_ = nullptr;
  int lines_ = 0;
  const int32_t* line_[kRows];  // different ones
  uint8_t line_of_row_[kRows];
  uint8_t query_in_tile_[kRows];
};

}  // namespace
}  // namespace roofgate
