// How the instances of the CUDA attention kernels differ in what they do to the scores. The number
// stands in the demangled name of a kernel, so profiles can tell instances apart.
#pragma once

namespace roofgate {

// Sequences of different lengths (cu_seqlens) combine with every kind and are told apart at run
// time: they cost a few instructions per block, not per score.
enum class MaskKind : int {
  kFull = 0,    // every key is visible
  kWindow = 1,  // causal and sliding windows
  kPlan = 2,    // tiles of a mask plan
  kAny = 3,     // softcap or ALiBi or both, with any of the masks above, chosen at run time
};

}  // namespace roofgate
