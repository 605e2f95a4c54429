#include "tensor_box.h"

#include <algorithm>

namespace roofgate::sim {

TensorBox::TensorBox(const TensorMap& map, const int32_t* coordinates)
    : map_(map), element_bytes_(tensor_element_bytes(map.type)) {
  for (int i = 0; i < map.rank; ++i) {
    origin_[i] = coordinates[i];
    const uint32_t step = map.element_strides[i];
    extent_[i] = (map.box[i] + step - 1) / step;
    if (i > 0) rows_ *= extent_[i];
  }
  row_bytes_ = extent_[0] * element_bytes_;
}

TensorRow TensorBox::row(uint32_t index) const {
  TensorRow row = {};
  row.shared_offset = index * row_bytes_;
  row.inside = true;
  row.address = map_.address;
  for (int i = 1; i < map_.rank; ++i) {
    const int64_t coordinate = origin_[i] + int64_t{index % extent_[i]} * map_.element_strides[i];
    index /= extent_[i];
    row.inside &= coordinate >= 0 && coordinate < static_cast<int64_t>(map_.dimensions[i]);
    row.address += coordinate * map_.strides[i - 1];
  }
  const int64_t first = std::max<int64_t>(origin_[0], 0);
  const int64_t end =
      std::min<int64_t>(origin_[0] + extent_[0], static_cast<int64_t>(map_.dimensions[0]));
  row.inside &= first < end;
  if (!row.inside) return row;
  row.address += first * element_bytes_;
  row.skipped = static_cast<uint32_t>(first - origin_[0]) * element_bytes_;
  row.bytes = static_cast<uint32_t>(end - first) * element_bytes_;
  return row;
}

}  // namespace roofgate::sim
