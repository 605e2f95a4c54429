#include "attention_fwd_cpu_items.h"

#include <algorithm>

#include "attention_cpu_mask.h"

namespace roofgate {
namespace {

// Packing a tile of K and V costs as much as 5 query rows of arithmetic on it, so some hundred rows
// hide it; but their packed Q and O have to stay in the L2 cache.
constexpr int64_t kItemBytes = 384 * 1024;
// Enough items for the last ones to even out the finish of the threads.
constexpr int32_t kItemsPerThread = 8;
constexpr int64_t kPlanPairQueries = 2 * ROOFGATE_PLAN_TILE;

int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

struct WeighedChunk {
  AttentionFwdChunk chunk;
  int64_t weight;
};

// What a chunk costs beside others: rows times the keys that the middle one sees through the
// window.
int64_t window_weight(const AttentionFwdTask& task, const AttentionFwdChunk& chunk) {
  const roofgate_attention_problem& p = task.params.problem;
  const Sequence sequence = sequence_at(p, chunk.batch);
  const int64_t sequence_rows = int64_t{sequence.queries} * task.group;
  const int64_t rows = std::min<int64_t>(task.rows_per_item, sequence_rows - chunk.first_row);
  const KeyRange keys = window_of(p, sequence, (chunk.first_row + rows / 2) / task.group);
  return rows * std::max<int64_t>(keys.end - keys.first, 0);
}

// The plan knows which of its pairs of tiles are heavy: a pair counts by how many come after it.
class PlanWeights {
 public:
  explicit PlanWeights(const roofgate_attention_problem& problem)
      : weights_(divide_up(problem.seqlen_q, kPlanPairQueries)) {
    const int64_t pairs = static_cast<int64_t>(weights_.size());
    for (int64_t rank = 0; rank < pairs; ++rank) {
      const int64_t pair = problem.plan.query_order[rank];
      if (pair >= 0 && pair < pairs) weights_[pair] = pairs - rank;
    }
  }

  int64_t operator()(const AttentionFwdTask& task, const AttentionFwdChunk& chunk) const {
    const int64_t end_row = chunk.first_row + task.rows_per_item;
    const int64_t end_pair = divide_up(divide_up(end_row, task.group), kPlanPairQueries);
    const int64_t last = std::min<int64_t>(end_pair, static_cast<int64_t>(weights_.size()));
    int64_t weight = 0;
    for (int64_t pair = chunk.first_row / task.group / kPlanPairQueries; pair < last; ++pair) {
      weight += weights_[pair];
    }
    return weight;
  }

 private:
  std::vector<int64_t> weights_;
};

void choose_sizes(int32_t rows_per_tile, AttentionFwdTask* task) {
  const roofgate_attention_problem& p = task->params.problem;
  task->group = p.heads_q / p.heads_kv;
  int64_t tiles = 0;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    tiles += divide_up(int64_t{sequence_at(p, batch).queries} * task->group, rows_per_tile);
  }
  const int64_t wanted_items = int64_t{kItemsPerThread} * std::max(p.threads, 1);
  const int64_t tile_bytes = int64_t{rows_per_tile} * p.head_dim * 2 * int64_t{sizeof(float)};
  const int64_t most_tiles = std::clamp<int64_t>(kItemBytes / tile_bytes, 1, kMaxTilesPerItem);
  task->tiles_per_item =
      static_cast<int32_t>(std::clamp<int64_t>(tiles * p.heads_kv / wanted_items, 1, most_tiles));
  task->rows_per_item = task->tiles_per_item * rows_per_tile;
}

template <class Weight>
void weigh(const AttentionFwdTask& task, Weight weight, std::vector<WeighedChunk>* chunks) {
  for (WeighedChunk& item : *chunks) item.weight = weight(task, item.chunk);
}

}  // namespace

std::vector<AttentionFwdChunk> cut_into_chunks(int32_t rows_per_tile, AttentionFwdTask* task) {
  const roofgate_attention_problem& p = task->params.problem;
  choose_sizes(rows_per_tile, task);
  std::vector<WeighedChunk> weighed;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    const int64_t rows = int64_t{sequence_at(p, batch).queries} * task->group;
    for (int64_t row = 0; row < rows; row += task->rows_per_item) {
      weighed.push_back({{batch, row}, 0});
    }
  }
  if (p.plan.tiles != nullptr && p.plan.query_order != nullptr) {
    weigh(*task, PlanWeights(p), &weighed);
  } else {
    weigh(*task, window_weight, &weighed);
  }
  std::stable_sort(
      weighed.begin(), weighed.end(),
      [](const WeighedChunk& a, const WeighedChunk& b) { return a.weight > b.weight; });
  std::vector<AttentionFwdChunk> chunks;
  chunks.reserve(weighed.size());
  for (const WeighedChunk& item : weighed) chunks.push_back(item.chunk);
  return chunks;
}

}  // namespace roofgate
