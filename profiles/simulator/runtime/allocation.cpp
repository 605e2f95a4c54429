// Global memory that exists. It changes only between launches, so reading takes no lock.
#include <atomic>
#include <map>

#include "memory.h"

namespace roofgate::sim {
namespace {

std::map<uint64_t, Allocation>& allocations() {
  static std::map<uint64_t, Allocation> table;
  return table;
}

std::atomic<uint64_t> generation = 1;

// What the thread found last, since most requests are to the array of the last one.
struct LastHit {
  uint64_t generation = 0;
  const Allocation* allocation = nullptr;
};
thread_local LastHit last_hit;

bool holds(const Allocation& allocation, uint64_t address, uint64_t bytes) {
  const uint64_t offset = address - allocation.address;  // wraps if the address is below
  return offset <= allocation.bytes && bytes <= allocation.bytes - offset;
}

// The last allocation that begins at or before the address.
const Allocation* allocation_before(uint64_t address) {
  const auto next = allocations().upper_bound(address);
  return next == allocations().begin() ? nullptr : &std::prev(next)->second;
}

std::string in_words(const Allocation& allocation) {
  return "'" + allocation.name + "' (" + std::to_string(allocation.bytes) + " B)";
}

std::string bytes_in_words(uint64_t bytes) {
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

}  // namespace

void add_allocation(Allocation allocation) {
  ++generation;
  const uint64_t address = allocation.address;
  allocations().insert_or_assign(address, std::move(allocation));
}

void remove_allocation(uint64_t address) {
  ++generation;
  allocations().erase(address);
}

const Allocation* find_allocation(uint64_t address, uint64_t bytes) {
  const uint64_t now = generation.load(std::memory_order_relaxed);
  if (last_hit.generation == now && holds(*last_hit.allocation, address, bytes)) {
    return last_hit.allocation;
  }
  const Allocation* const found = allocation_before(address);
  if (!found || !holds(*found, address, bytes)) return nullptr;
  last_hit = {now, found};
  return found;
}

std::string describe_address(uint64_t address) {
  const Allocation* const before = allocation_before(address);
  if (before && address < before->address + before->bytes) {
    return bytes_in_words(address - before->address) + " into " + in_words(*before);
  }
  const auto next = allocations().upper_bound(address);
  const bool has_next = next != allocations().end();
  const uint64_t past = before ? address - (before->address + before->bytes) : 0;
  const uint64_t short_of = has_next ? next->first - address : 0;
  if (before && (!has_next || past <= short_of)) {
    return bytes_in_words(past) + " past the end of " + in_words(*before);
  }
  if (has_next) return bytes_in_words(short_of) + " before " + in_words(next->second);
  return "no global memory was allocated";
}

}  // namespace roofgate::sim
