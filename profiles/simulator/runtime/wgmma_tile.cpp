#include <algorithm>
#include <cstring>

#include "findings.h"
#include "tensor_box.h"
#include "wgmma.h"

namespace roofgate::sim {
namespace {

constexpr uint32_t kChunk = 16;  // bytes
constexpr int kGroup = 8;        // lines, and elements of a chunk of 16-bit elements
constexpr int kBlocks = 2;       // of K in one product, whatever the element type
constexpr uint32_t kAddressMask = 0x3ffff;

// A field holds bits 4 to 17 of an address or of a distance in bytes.
uint32_t field(uint64_t descriptor, int first_bit) {
  return static_cast<uint32_t>(descriptor >> first_bit & 0x3fff) << 4;
}

uint32_t span_of(uint64_t descriptor) {
  switch (descriptor >> 62) {
    case 1:
      return 128;
    case 2:
      return 64;
    case 3:
      return 32;
    default:
      return kChunk;
  }
}

constexpr uint64_t kReserved =
    uint64_t{0x3} << 14 | uint64_t{0x3} << 30 | uint64_t{0x7} << 46 | uint64_t{0x3ff} << 52;
constexpr uint64_t kBaseOffset = uint64_t{0x7} << 49;

}  // namespace

WgmmaTile::WgmmaTile(Warp& warp, const Instruction& instruction, uint64_t descriptor, Major major)
    : block_(*warp.block),
      major_(major),
      start_(field(descriptor, 0)),
      leading_(field(descriptor, 16)),
      stride_(field(descriptor, 32)),
      span_(span_of(descriptor)) {
  if (descriptor & kReserved) {
    fail(warp, instruction,
         {Check::kWgmma,
          "the matrix descriptor sets bits that are reserved (14-15, 30-31, 46-48, "
          "52-61)"});
  }
  if (descriptor & kBaseOffset) {
    fail(warp, instruction,
         {Check::kWgmma, "not modelled: a matrix descriptor with a base offset (bits 49-51)"});
  }
}

uint32_t WgmmaTile::chunk(int group, int block, int index) const {
  const auto chunks = static_cast<int>(span_ / kChunk);
  uint32_t address = start_ + index * span_;
  if (major_ == Major::kK) {
    address += group * stride_ + block * (chunks == 1 ? leading_ : kChunk);
  } else if (chunks == 1) {
    address += group * stride_ + block * leading_;
  } else {
    address += group % chunks * kChunk + group / chunks * leading_ + block * stride_;
  }
  return swizzle(address, span_) & kAddressMask;
}

Lanes<uint32_t> WgmmaTile::words(int group, int block) const {
  Lanes<uint32_t> words;
  auto* const bytes = reinterpret_cast<std::byte*>(words.lane);
  if (major_ == Major::kK) {
    for (int line = 0; line < kGroup; ++line) {
      std::memcpy(bytes + line * kChunk, block_.shared + chunk(group, block, line), kChunk);
    }
    return words;
  }
  uint16_t elements[kGroup][kGroup];  // by line and k
  for (int k = 0; k < kGroup; ++k) {
    uint16_t lines[kGroup];
    std::memcpy(lines, block_.shared + chunk(group, block, k), kChunk);
    for (int line = 0; line < kGroup; ++line) elements[line][k] = lines[line];
  }
  std::memcpy(bytes, elements, sizeof elements);
  return words;
}

void WgmmaTile::require_inside(Warp& warp, const Instruction& instruction, int first,
                               int end) const {
  uint32_t highest = 0;
  for (int group = first; group < end; ++group) {
    for (int block = 0; block < kBlocks; ++block) {
      for (int index = 0; index < kGroup; ++index) {
        highest = std::max(highest, chunk(group, block, index));
      }
    }
  }
  if (highest + kChunk <= block_.shared_bytes) return;
  fail(warp, instruction,
       {Check::kOutOfBounds, "the matrix reaches behind the block's shared memory", kAllLanes,
        Space::kShared, highest, kChunk});
}

void WgmmaTile::add_ranges(int first, int end, int step, std::vector<SharedRange>& ranges) const {
  std::vector<uint32_t> chunks;
  for (int group = first; group < end; group += step) {
    for (int block = 0; block < kBlocks; ++block) {
      for (int index = 0; index < kGroup; ++index) chunks.push_back(chunk(group, block, index));
    }
  }
  std::sort(chunks.begin(), chunks.end());
  const size_t before = ranges.size();
  for (const uint32_t address : chunks) {
    if (ranges.size() > before && ranges.back().offset + ranges.back().bytes >= address) {
      ranges.back().bytes = address + kChunk - ranges.back().offset;
    } else {
      ranges.push_back({address, kChunk});
    }
  }
}

}  // namespace roofgate::sim
