#include "shadow_cells.h"

namespace roofgate::sim {
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
