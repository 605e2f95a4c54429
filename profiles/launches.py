"""How a CUDA library launches its kernels: what their theoretical occupancy depends on. No driver needed."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kernels.errors import RoofgateError


class _LaunchFacts(ctypes.Structure):
    """``struct roofgate_kernel_launch_facts`` of csrc/roofgate_abi.h."""

    _fields_ = (("kernel", ctypes.c_char_p), ("threads", ctypes.c_int32), ("dynamic_shared_bytes", ctypes.c_int32))


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLaunch:
    """How one kernel is launched."""

    kernel: str
    threads: int  # per block
    dynamic_shared_bytes: int  # per block

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.dynamic_shared_bytes} B dynamic shared memory"


def read_launches(library: Path) -> Mapping[str, KernelLaunch]:
    """Every kernel of ``library`` by name: ``attention_fwd<bf16, 64, causal>``.

    Raises :class:`RoofgateError` if the library cannot be opened or does not describe its launches.
    """
    try:
        opened = ctypes.CDLL(str(library.resolve()))
    except OSError as error:
        raise RoofgateError(f"{library}: cannot be opened ({error}); run: nox -s build") from error
    try:
        describe = opened.roofgate_kernel_launch
    except AttributeError:
        raise RoofgateError(
            f"{library} does not say how its kernels are launched; define roofgate_kernel_launch (roofgate_abi.h)"
        ) from None
    describe.argtypes = (ctypes.c_int, ctypes.POINTER(_LaunchFacts))
    facts, launches = _LaunchFacts(), list[KernelLaunch]()
    while describe(len(launches), ctypes.byref(facts)):
        launches.append(
            KernelLaunch(
                kernel=facts.kernel.decode(), threads=facts.threads, dynamic_shared_bytes=facts.dynamic_shared_bytes
            )
        )
    return {launch.kernel: launch for launch in launches}
