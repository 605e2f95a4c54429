"""Probes: tiny kernels whose results say how an instruction behaves, to be held against a real GPU.

The simulator follows the PTX ISA, but where the ISA is silent or unclear (fragment layouts in prose, matrix
descriptors, the order in which tensor cores add) only hardware can confirm it. Each probe is a PTX kernel that executes
one instruction, or a few of one kind, on fixed inputs and stores all that it sees. :mod:`.catalogue` lists them;
:mod:`.simulator_side` and :mod:`.gpu_side` run the same text; :mod:`.compare` says where they differ. The simulator's
answers are kept in ``expected/``, so that a change of the simulator shows, and a machine without it can compare too.
Those of an H100 are kept in ``recorded/``, so that every machine can hold the simulator against hardware.

The kernels are PTX text rather than CUDA C++, so that nothing between the probe and the instruction can be optimised
away, and a machine needs no compiler besides its driver's.
"""
