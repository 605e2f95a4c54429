"""From a PTX kernel to the program that the run-time executes.

In: modules and kernels as :mod:`profiles.simulator.ptx` gives them. Out: a :class:`program.Program` and its text. The
families of instructions are the modules that register functions with :func:`context.lowers`.
"""

import importlib
import importlib.util

for _family in (
    "arithmetic", "async_copies", "comparison", "control", "conversion", "half", "half_precision", "hopper", "logic", "memory", "tensor",
):
    if importlib.util.find_spec(f"{__name__}.{_family}"):
        importlib.import_module(f"{__name__}.{_family}")
