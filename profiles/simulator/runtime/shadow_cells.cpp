#include "shadow_cells.h"

namespace roofgate::sim {

void ShadowCells::divide(Cell& cell) {
  if (cell.divided) return;
  if (!cell.parts) cell.parts = parts_.emplace_back(std::make_unique<Cell[]>(kParts)).get();
  for (uint32_t i = 0; i < kParts; ++i) {
    Cell* const parts = cell.parts[i].parts;
    cell.parts[i] = cell;
    cell.parts[i].parts = parts;
  }
  cell.divided = true;
}

}  // namespace roofgate::sim
