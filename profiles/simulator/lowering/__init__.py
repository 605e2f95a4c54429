"""From a PTX kernel to the program that the run-time executes.

In: modules and kernels as :mod:`profiles.simulator.ptx` gives them. Out: a :class:`program.Program` and its text. The
modules named here are the families of instructions; importing one makes its lowering functions known.
"""

from profiles.simulator.lowering import (
    arithmetic,
    async_copies,
    comparison,
    control,
    conversion,
    hopper,
    logic,
    memory,
    tensor,
)

__all__ = [
    "arithmetic",
    "async_copies",
    "comparison",
    "control",
    "conversion",
    "hopper",
    "logic",
    "memory",
    "tensor",
]
