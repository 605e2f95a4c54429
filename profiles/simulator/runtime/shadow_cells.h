// What is known of the past accesses to a range of memory.
//
// Ordering follows FastTrack (Flanagan and Freund, PLDI 2009): of weak writes only the last is
// kept, of the other accesses since then the last of each agent. The unit is a cell of 16 bytes,
// which is divided into 4 words, and these into 4 bytes, only where accesses of fewer bytes ask for
// it; a write of the whole cell makes it one again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory.h"
#include "sync_clock.h"

namespace roofgate::sim {

constexpr uint32_t kUnknownLane = 63;

// Who made an access, and when by the clock of its agent.
struct Mark {
  uint32_t cluster = 0;
  uint32_t agent = 0;
  uint32_t time = 0;  // 0: there was no access
  uint32_t site : 22 = 0;
  uint32_t lane : 6 = kUnknownLane;
  uint32_t strong : 1 = 0;         // atomic, volatile, relaxed, release or acquire
  uint32_t writes : 1 = 0;         // among Cell::others
  uint32_t generic_proxy : 1 = 1;  // ordinary accesses and cp.async

  bool exists() const { return time != 0; }
  bool same_kind(const Mark& other) const {
    return writes == other.writes && strong == other.strong;
  }
  bool same_agent(const Mark& other) const {
    return agent == other.agent && cluster == other.cluster;
  }
};

// Whose past decides what is in order.
struct Observer {
  uint32_t cluster;
  const VectorClock& clock;
  const RemoteClocks& remote;

  bool has_seen(const Mark& mark) const {
    if (mark.cluster == cluster) return clock[mark.agent] >= mark.time;
    const auto known = remote.find(mark.cluster);
    return known != remote.end() && known->second[mark.agent] >= mark.time;
  }
};

struct Cell {
  Mark writer;               // the last weak write
  std::vector<Mark> others;  // reads and strong writes since
  Cell* parts = nullptr;     // of a quarter of its bytes each; nullptr: never divided
  bool divided = false;
  bool initialised = false;
  bool in_flight = false;  // `writer` is an asynchronous write that has not ended
};

// Reads do not conflict with reads, nor strong accesses with strong ones.
inline bool may_conflict(const Mark& mark, const Mark& other) {
  return (mark.writes | other.writes) & !(mark.strong & other.strong);
}

// An earlier access that conflicts with that of `mark` and is not ordered before it; nullptr if
// there is none.
inline const Mark* find_conflict(const Cell& cell, const Mark& mark, const Observer& observer) {
  if (cell.writer.exists() && !observer.has_seen(cell.writer)) return &cell.writer;
  for (const Mark& other : cell.others) {
    if (may_conflict(mark, other) && !observer.has_seen(other)) return &other;
  }
  return nullptr;
}

// Adds a read or a strong write to cell.others, where each agent has at most one of a kind. At most
// `limit` are kept once they come from two clusters: a later weak write conflicts with one of
// these, unless it is ordered after all.
inline void record_other(Cell& cell, const Mark& mark, size_t limit) {
  bool of_two_clusters = false;
  for (Mark& known : cell.others) {
    if (known.same_kind(mark) && known.same_agent(mark)) {
      known = mark;
      return;
    }
    of_two_clusters |= known.cluster != cell.others.front().cluster;
  }
  if (!of_two_clusters || cell.others.size() < limit) cell.others.push_back(mark);
}

// Makes a weak write the last one.
inline void record_write(Cell& cell, const Mark& mark) {
  cell.writer = mark;
  cell.others.clear();
  cell.initialised = true;
  cell.in_flight = false;
}

class ShadowCells {
 public:
  static constexpr uint32_t kCellBytes = 16;
  static constexpr uint32_t kParts = 4;

  explicit ShadowCells(uint32_t bytes) : cells_((bytes + kCellBytes - 1) / kCellBytes) {}

  // The undivided cell of exactly these bytes, if it is one of the usual sizes; else nullptr.
  Cell* find(uint32_t offset, uint32_t bytes) {
    Cell* cell = &cells_[offset / kCellBytes];
    if (bytes == kCellBytes / kParts && cell->divided) {
      cell = &cell->parts[offset / bytes % kParts];
    } else if (bytes != kCellBytes) {
      return nullptr;
    }
    return cell->divided ? nullptr : cell;
  }

  // Calls visit(cell) for undivided cells that together are exactly these bytes.
  template <class Visit>
  void each(uint32_t offset, uint32_t bytes, Visit visit) {
    cover(offset, bytes, [&](Cell& cell) { leaves(cell, visit); });
  }

  // The same, but each of the cells is one again after its parts were visited, and then
  // update(cell) is called for it.
  template <class Visit, class Update>
  void replace(uint32_t offset, uint32_t bytes, Visit visit, Update update) {
    cover(offset, bytes, [&](Cell& cell) {
      leaves(cell, visit);
      cell.divided = false;
      update(cell);
    });
  }

 private:
  template <class Whole>
  void cover(uint32_t offset, uint32_t bytes, Whole whole) {
    const uint32_t end = offset + bytes;
    while (offset < end) {
      const uint32_t start = offset / kCellBytes * kCellBytes;
      const uint32_t stop = std::min(end, start + kCellBytes);
      cover(cells_[offset / kCellBytes], kCellBytes, offset - start, stop - start, whole);
      offset = stop;
    }
  }

  template <class Whole>
  void cover(Cell& cell, uint32_t size, uint32_t begin, uint32_t end, Whole& whole) {
    if (begin == 0 && end == size) {
      whole(cell);
      return;
    }
    divide(cell);
    const uint32_t part = size / kParts;
    for (uint32_t i = begin / part; i * part < end; ++i) {
      const uint32_t from = std::max(begin, i * part) - i * part;
      const uint32_t to = std::min(end, (i + 1) * part) - i * part;
      cover(cell.parts[i], part, from, to, whole);
    }
  }

  template <class Visit>
  void leaves(Cell& cell, Visit& visit) {
    if (!cell.divided) {
      visit(cell);
      return;
    }
    for (uint32_t i = 0; i < kParts; ++i) leaves(cell.parts[i], visit);
  }

  void divide(Cell& cell);

  std::vector<Cell> cells_;
  std::vector<std::unique_ptr<Cell[]>> parts_;  // of all cells that were ever divided
};

}  // namespace roofgate::sim
