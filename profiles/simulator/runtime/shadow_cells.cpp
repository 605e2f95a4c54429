#include "shadow_cells.h"

namespace roofgate::sim {
namespace {

// Whether whatever conflicts with `known` would conflict with `mark` too.
bool subsumes(const Mark& mark, const Mark& known) {
  return mark.writes == known.writes && mark.strong <= known.strong;
}

// Reads do not conflict with reads, nor strong accesses with strong ones.
bool may_conflict(const Mark& mark, const Mark& other) {
  return (mark.writes || other.writes) && !(mark.strong && other.strong);
}

}  // namespace

const Mark* find_conflict(const Cell& cell, const Mark& mark, const Observer& observer) {
  if (cell.writer.exists() && !observer.has_seen(cell.writer)) return &cell.writer;
  for (const Mark& other : cell.others) {
    if (may_conflict(mark, other) && !observer.has_seen(other)) return &other;
  }
  return nullptr;
}

void record_other(Cell& cell, const Mark& mark, const Observer& observer, size_t limit) {
  bool of_two_clusters = false;
  Mark* place = nullptr;
  for (Mark& known : cell.others) {
    of_two_clusters |= known.cluster != cell.others.front().cluster;
    if (subsumes(mark, known) && observer.has_seen(known)) {
      known = mark;
      place = &known;
      break;
    }
  }
  if (place) {
    const auto is_stale = [&](const Mark& known) {
      return &known > place && subsumes(mark, known) && observer.has_seen(known);
    };
    if (place != &cell.others.back()) std::erase_if(cell.others, is_stale);
    return;
  }
  if (of_two_clusters && cell.others.size() >= limit) return;
  cell.others.push_back(mark);
}

void record_write(Cell& cell, const Mark& mark) {
  cell.writer = mark;
  cell.others.clear();
  cell.initialised = true;
  cell.in_flight = false;
}

void ShadowCells::divide(Cell& cell) {
  if (cell.divided) return;
  if (cell.children == 0) {
    cell.children = static_cast<uint32_t>(parts_.size());
    parts_.resize(parts_.size() + kParts);
  }
  for (uint32_t i = 0; i < kParts; ++i) {
    Cell& part = parts_[cell.children + i];
    const uint32_t children = part.children;
    part = cell;
    part.children = children;
  }
  cell.divided = true;
}

}  // namespace roofgate::sim
