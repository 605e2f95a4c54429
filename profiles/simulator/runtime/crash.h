// Says where the simulated kernel was when this process crashed or ran out of time.
#pragma once

namespace roofgate::sim {

// From now on a fatal signal writes the line
//   crash SIGNAL ADDRESS SITE X Y Z WARP KERNEL
// to `descriptor` and ends the process; SITE is -1 outside of a kernel.
void report_crashes(int descriptor);

// After `seconds`, writes for each thread that runs a warp
//   busy SITE X Y Z WARP KERNEL
// and then "timeout", and ends the process.
void limit_time(double seconds);

}  // namespace roofgate::sim
