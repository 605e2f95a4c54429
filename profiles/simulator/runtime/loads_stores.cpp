// PTX ISA, "Data Movement and Conversion Instructions: ld, st". Operands are those that
// lowering/memory.py documents.
#include <cstring>
#include <string>
#include <type_traits>

#include "address_operands.h"
#include "findings.h"
#include "memory_order.h"
#include "warp_memory.h"

namespace roofgate::sim {
namespace {

enum class Window { kShared, kGlobal, kConstant, kLocal, kParameter, kGeneric };

constexpr int kElements = AddressOperands::kCount;

template <Window window>
void locate(const Request& request, const AddressOperands& operands, Places& places) {
  Warp& warp = request.warp;
  if constexpr (window == Window::kShared) {
    request_shared(request, read_addresses<uint32_t>(warp, operands), places);
  } else if constexpr (window == Window::kLocal) {
    request_local(request, read_addresses<uint32_t>(warp, operands), places);
  } else if constexpr (window == Window::kParameter) {
    request_parameter(request, read_addresses<uint32_t>(warp, operands), places);
  } else if constexpr (window == Window::kConstant) {
    request_constant(request, read_addresses<uint64_t>(warp, operands), places);
  } else if constexpr (window == Window::kGlobal) {
    request_global(request, read_addresses<uint64_t>(warp, operands), places);
  } else {
    request_generic(request, read_addresses<uint64_t>(warp, operands), places);
  }
}

template <class Element>
Element read_element(const std::byte* place) {
  Element value;
  std::memcpy(&value, place, sizeof value);
  return value;
}

// Memory holds Element, the register Register: a conversion between integers extends by the sign of
// the element's type, or cuts off.
template <class Element, class Register>
void load_lanes(Lanes<Register>& destination, LaneMask lanes, const Places& places, size_t offset) {
  if (lanes == kAllLanes) {
    for (int l = 0; l < kLanes; ++l) {
      destination[l] = static_cast<Register>(read_element<Element>(places[l] + offset));
    }
    return;
  }
  each_lane(lanes, [&](int l) {
    destination[l] = static_cast<Register>(read_element<Element>(places[l] + offset));
  });
}

template <class Element, class Register>
void store_lanes(const Lanes<Register>& source, LaneMask lanes, const Places& places,
                 size_t offset) {
  each_lane(lanes, [&](int l) {
    const auto value = static_cast<Element>(source[l]);
    std::memcpy(places[l] + offset, &value, sizeof value);
  });
}

template <Window window, class Element, class Register, int kCount>
Status load(Warp& warp, const Instruction& instruction) {
  const AddressOperands operands(instruction);
  const Access access = operands.order & kStrong ? Access::kStrongRead : Access::kRead;
  const Request request{warp, instruction, warp.executing, sizeof(Element) * kCount, access};
  Places places{};
  locate<window>(request, operands, places);
  for (int i = 0; i < kCount; ++i) {
    load_lanes<Element>(warp.lanes<Register>(instruction.operands[kElements + i]), request.lanes,
                        places, i * sizeof(Element));
  }
  take_over(request, places, operands.order);
  return Status::kNext;
}

// Two lanes write different values to one place: which one stays is undefined.
void report_lost_write(const Request& request, const Places& places, int lane, int earlier) {
  const std::string message = "lanes " + std::to_string(earlier) + " and " + std::to_string(lane) +
                              " of one instruction write different values to one address";
  const bool is_shared =
      places[lane] >= request.warp.block->shared &&
      places[lane] < request.warp.block->shared + request.warp.block->shared_bytes;
  report(request.warp, request.instruction,
         {is_shared ? Check::kSharedRace : Check::kGlobalRace, message,
          LaneMask{1} << lane | LaneMask{1} << earlier, is_shared ? Space::kShared : Space::kGlobal,
          is_shared ? static_cast<uint64_t>(places[lane] - request.warp.block->shared)
                    : reinterpret_cast<uint64_t>(places[lane]),
          request.bytes,
          Party{request.instruction.site, request.warp.block->index, request.warp.index, earlier,
                "write"}});
}

// Lanes in their order, each address above the last one: no two can be the same.
bool ascends(const Places& places, LaneMask lanes) {
  const std::byte* last = nullptr;
  bool result = true;
  each_lane(lanes, [&](int l) {
    result &= places[l] > last;
    last = places[l];
  });
  return result;
}

// After the store: the lane whose value did not stay had another one.
template <class Element, class Register>
void check_lost_writes(const Request& request, const Places& places, const Instruction& operation,
                       int count) {
  if (!launch_of(request.warp).options.check_races || ascends(places, request.lanes)) return;
  each_lane(request.lanes, [&](int l) {
    for (int i = 0; i < count; ++i) {
      const auto& source = request.warp.lanes<Register>(operation.operands[kElements + i]);
      const auto stored = read_element<Element>(places[l] + i * sizeof(Element));
      if (static_cast<Element>(source[l]) == stored) continue;
      const LaneMask later = lanes_where(request.lanes & -(LaneMask{2} << l),
                                         [&](int other) { return places[other] == places[l]; });
      report_lost_write(request, places, 31 - __builtin_clz(later | 1), l);
      return;
    }
  });
}

template <Window window, class Element, class Register, int kCount>
Status store(Warp& warp, const Instruction& instruction) {
  const AddressOperands operands(instruction);
  const Access access = operands.order & kStrong ? Access::kStrongWrite : Access::kWrite;
  const Request request{warp, instruction, warp.executing, sizeof(Element) * kCount, access};
  Places places{};
  locate<window>(request, operands, places);
  pass_on(request, places, operands.order);
  for (int i = 0; i < kCount; ++i) {
    store_lanes<Element>(warp.lanes<Register>(instruction.operands[kElements + i]), request.lanes,
                         places, i * sizeof(Element));
  }
  if constexpr (window != Window::kLocal) {
    check_lost_writes<Element, Register>(request, places, instruction, kCount);
  }
  return Status::kNext;
}

// Names: "ld.shared.v4.b32", "ld.global.s8.to32" where the register is wider than the element.
template <Window window, class Element, class Register, int kCount>
void register_pair(const std::string& space, const std::string& type) {
  const std::string vector = kCount > 1 ? ".v" + std::to_string(kCount) : "";
  const std::string name = "." + space + vector + "." + type;
  Registration(("ld" + name).c_str(), load<window, Element, Register, kCount>);
  constexpr bool kReadOnly = window == Window::kConstant || window == Window::kParameter;
  // A store cuts off, whatever the sign.
  if constexpr (!kReadOnly && !std::is_signed_v<Element>) {
    Registration(("st" + name).c_str(), store<window, Element, Register, kCount>);
  }
}

template <Window window, class Element, class Register>
void register_vectors(const std::string& space, const std::string& type) {
  register_pair<window, Element, Register, 1>(space, type);
  if constexpr (sizeof(Element) <= 8) register_pair<window, Element, Register, 2>(space, type);
  if constexpr (sizeof(Element) <= 4) register_pair<window, Element, Register, 4>(space, type);
}

using Wide = unsigned __int128;

template <Window window>
void register_types(const std::string& space) {
  register_vectors<window, uint8_t, uint16_t>(space, "u8.to16");
  register_vectors<window, uint8_t, uint32_t>(space, "u8.to32");
  register_vectors<window, uint8_t, uint64_t>(space, "u8.to64");
  register_vectors<window, int8_t, uint16_t>(space, "s8.to16");
  register_vectors<window, int8_t, uint32_t>(space, "s8.to32");
  register_vectors<window, int8_t, uint64_t>(space, "s8.to64");
  register_vectors<window, uint16_t, uint16_t>(space, "b16");
  register_vectors<window, uint16_t, uint32_t>(space, "u16.to32");
  register_vectors<window, uint16_t, uint64_t>(space, "u16.to64");
  register_vectors<window, int16_t, uint32_t>(space, "s16.to32");
  register_vectors<window, int16_t, uint64_t>(space, "s16.to64");
  register_vectors<window, uint32_t, uint32_t>(space, "b32");
  register_vectors<window, uint32_t, uint64_t>(space, "u32.to64");
  register_vectors<window, int32_t, uint64_t>(space, "s32.to64");
  register_vectors<window, uint64_t, uint64_t>(space, "b64");
  register_vectors<window, Wide, Wide>(space, "b128");
}

const bool registered = [] {
  register_types<Window::kShared>("shared");
  register_types<Window::kGlobal>("global");
  register_types<Window::kConstant>("const");
  register_types<Window::kLocal>("local");
  register_types<Window::kParameter>("param");
  register_types<Window::kGeneric>("generic");
  return true;
}();

}  // namespace
}  // namespace roofgate::sim
