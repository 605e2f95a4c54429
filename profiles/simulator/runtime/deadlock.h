// What to say when nothing can go on.
#pragma once

#include "resident.h"

namespace roofgate::sim {

// Ends the launch with a finding that lists who waits where.
[[noreturn]] void fail_deadlock(const Resident& resident);

}  // namespace roofgate::sim
