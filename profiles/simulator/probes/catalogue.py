"""All probes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache

from kernels.errors import RoofgateError
from profiles.simulator.probes.barriers import barrier_probes
from profiles.simulator.probes.collectives import collective_probes
from profiles.simulator.probes.conversions import conversion_probes
from profiles.simulator.probes.copies import copy_probes
from profiles.simulator.probes.floats import float_probes
from profiles.simulator.probes.integers import integer_probes
from profiles.simulator.probes.matrices import matrix_probes
from profiles.simulator.probes.memory_accesses import access_probes
from profiles.simulator.probes.probe import Probe
from profiles.simulator.probes.tensor_copies import tensor_copy_probes
from profiles.simulator.probes.warpgroup_products import warpgroup_probes

FAMILIES = {
    "conversions": conversion_probes,
    "floats": float_probes,
    "integers": integer_probes,
    "collectives": collective_probes,
    "memory": access_probes,
    "barriers": barrier_probes,
    "copies": copy_probes,
    "tensor-copies": tensor_copy_probes,
    "matrices": matrix_probes,
    "warpgroup-products": warpgroup_probes,
}


@cache
def all_probes() -> dict[str, tuple[Probe, ...]]:
    """The probes of each family, in a fixed order."""
    return {family: tuple(make()) for family, make in FAMILIES.items()}


def find_probes(pattern: str = "*") -> dict[str, Probe]:
    """Probes by name, of those whose name matches a shell pattern; raises :class:`RoofgateError` if none does."""
    found = {
        probe.name: probe for probes in all_probes().values() for probe in probes if fnmatchcase(probe.name, pattern)
    }
    if not found:
        raise RoofgateError(f"no probe's name matches {pattern!r}; try --filter 'wgmma-*' or leave --filter out")
    return found
