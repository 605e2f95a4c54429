// Cuts a call of the host attention forward into items.
#pragma once

#include <vector>

#include "attention_fwd_cpu.h"

namespace roofgate {

// The chunks of rows of all sequences, heaviest first: a thread that takes a heavy one last would
// keep the others waiting. Sets the sizes of `task`, whose params are set; task.chunks is left to
// the caller. Throws std::bad_alloc.
std::vector<AttentionFwdChunk> cut_into_chunks(int32_t rows_per_tile, AttentionFwdTask* task);

}  // namespace roofgate
