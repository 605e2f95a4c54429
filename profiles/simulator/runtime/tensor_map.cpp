#include "tensor_map.h"

#include <cstring>

#include "findings.h"
#include "memory.h"

namespace roofgate::sim {

TensorMap read_tensor_map(Warp& warp, const Instruction& instruction, int lane, uint64_t address) {
  const auto refuse = [&](const char* message) {
    fail(
        warp, instruction,
        {Check::kTensorCopy, message, LaneMask{1} << lane, Space::kNone, address, kTensorMapBytes});
  };
  if (address % kTensorMapAlignment) refuse("a tensor map must be aligned to 64 bytes");
  TensorMap map;
  const std::vector<std::byte>& parameters = launch_of(warp).parameters;
  const uint64_t offset = address - kParameterWindow;
  if (address >> 56 == kParameterWindow >> 56) {
    if (offset + sizeof map > parameters.size())
      refuse("the tensor map lies behind the parameters");
    std::memcpy(&map, parameters.data() + offset, sizeof map);
  } else {
    constexpr uint32_t kPart = 16;
    for (uint32_t i = 0; i < sizeof map; i += kPart) {
      std::memcpy(reinterpret_cast<std::byte*>(&map) + i,
                  access_global(warp, instruction, lane, address + i, kPart, Access::kRead), kPart);
    }
  }
  if (map.magic != kTensorMapMagic) refuse("no tensor map of cuTensorMapEncodeTiled is here");
  return map;
}

}  // namespace roofgate::sim
