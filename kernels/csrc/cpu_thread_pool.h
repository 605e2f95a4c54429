// Runs the independent items of one kernel call on several threads.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "roofgate_abi.h"

namespace roofgate {

// Computes one item. `scratch` is aligned to 64 bytes, private to the thread for the whole call and
// uninitialised. Must not throw.
using ItemBody = void (*)(const void* task, int64_t item, void* scratch);

// Calls body(task, item, scratch) once for each item in [0, items), in rising order of start, on
// the calling thread and at most threads - 1 others. Returns when all items are done, or
// ROOFGATE_OUT_OF_MEMORY before any has begun.
roofgate_status run_items(int32_t threads, int64_t items, size_t scratch_bytes, ItemBody body,
                          const void* task) noexcept;

}  // namespace roofgate
