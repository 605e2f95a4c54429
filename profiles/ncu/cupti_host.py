"""Asks NVIDIA's CUPTI, without driver or GPU, which metrics a chip has and how many passes they take.

Run as a child process by :mod:`profiles.ncu.offline_check`, since versions of the library are known to crash: JSON of
the questions on standard input, JSON of the answers on standard output. The calls and the members of their parameter
structures are those of NVIDIA's header cupti_profiler_host.h.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_RANGE_PROFILER = 0  # CUPTI_PROFILER_TYPE_RANGE_PROFILER
_SUCCESS = 0
_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_NAMES = ctypes.POINTER(ctypes.c_char_p)


class CuptiHostError(Exception):
    """A call that the library refused."""


def _parameters(name: str, *members: tuple[str, Any]) -> type[ctypes.Structure]:
    """The structure that the call ``name`` takes: its own size, a reserved pointer, and ``members``."""
    fields = [("structSize", _SIZE), ("pPriv", _POINTER), *members]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


_HOST = ("pHostObject", _POINTER)
_INITIALIZE = _parameters(
    "cuptiProfilerHostInitialize",
    ("profilerType", ctypes.c_int),
    ("pChipName", ctypes.c_char_p),
    ("pCounterAvailabilityImage", _POINTER),
    _HOST,
)
_DEINITIALIZE = _parameters("cuptiProfilerHostDeinitialize", _HOST)
_ADD_METRICS = _parameters("cuptiProfilerHostConfigAddMetrics", _HOST, ("ppMetricNames", _NAMES), ("numMetrics", _SIZE))
_IMAGE_SIZE = _parameters("cuptiProfilerHostGetConfigImageSize", _HOST, ("configImageSize", _SIZE))
_IMAGE = _parameters("cuptiProfilerHostGetConfigImage", _HOST, ("configImageSize", _SIZE), ("pConfigImage", _POINTER))
_PASSES = _parameters(
    "cuptiProfilerHostGetNumOfPasses", ("configImageSize", _SIZE), ("pConfigImage", _POINTER), ("numOfPasses", _SIZE)
)


class CuptiHost:
    """The two libraries of one CUPTI."""

    def __init__(self, folder: Path) -> None:
        ctypes.CDLL(str(folder / "libnvperf_host.so"), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(folder / "libcupti.so.13"))

    def unknown_metrics(self, chip: str, metrics: Sequence[str]) -> list[str]:
        """Those of ``metrics`` that cannot be asked for on ``chip``: no such counter, or not that roll-up of it."""
        if self._are_known(chip, metrics):
            return []
        # Each with a host object of its own: one that refused a name refuses every later one.
        return [metric for metric in metrics if not self._are_known(chip, [metric])]

    def _are_known(self, chip: str, metrics: Sequence[str]) -> bool:
        host = self._open(chip)
        try:
            return not metrics or self._add(host, metrics)
        finally:
            self._call(_DEINITIALIZE, pHostObject=host)

    def passes(self, chip: str, metrics: Sequence[str]) -> int:
        """How often a kernel runs until all ``metrics`` are counted; none for none."""
        if not metrics:
            return 0
        host = self._open(chip)
        try:
            if not self._add(host, metrics):
                raise CuptiHostError(f"the metrics cannot be counted together on {chip}")
            size = self._call(_IMAGE_SIZE, pHostObject=host).configImageSize
            image = ctypes.cast((ctypes.c_uint8 * size)(), _POINTER)
            self._call(_IMAGE, pHostObject=host, configImageSize=size, pConfigImage=image)
            return int(self._call(_PASSES, configImageSize=size, pConfigImage=image).numOfPasses)
        finally:
            self._call(_DEINITIALIZE, pHostObject=host)

    def _open(self, chip: str) -> int:
        """A new host object."""
        return int(self._call(_INITIALIZE, profilerType=_RANGE_PROFILER, pChipName=chip.encode()).pHostObject)

    def _add(self, host: int, metrics: Sequence[str]) -> bool:
        names = (ctypes.c_char_p * len(metrics))(*[metric.encode() for metric in metrics])
        try:
            self._call(_ADD_METRICS, pHostObject=host, ppMetricNames=names, numMetrics=len(metrics))
        except CuptiHostError:
            return False
        return True

    def _call(self, parameters: type[ctypes.Structure], **members: Any) -> Any:  # noqa: ANN401 (as ctypes has them)
        """Call the function that ``parameters`` is named after; returns its parameters, which hold the results."""
        filled: Any = parameters(**members)
        last = parameters._fields_[-1][0]
        filled.structSize = getattr(parameters, last).offset + getattr(parameters, last).size
        code = getattr(self._library, parameters.__name__)(ctypes.byref(filled))
        if code != _SUCCESS:
            raise CuptiHostError(f"{parameters.__name__} returned error {code}")
        return filled


def main() -> None:
    """Answer every question: which of its metrics are unknown, and how many passes the others take."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is reported; it need not leave a file as well
    request = json.load(sys.stdin)
    host = CuptiHost(Path(request["folder"]))
    answers = []
    for question in request["questions"]:
        chip, metrics = question["chip"], question["metrics"]
        unknown = host.unknown_metrics(chip, metrics)
        known = [metric for metric in metrics if metric not in unknown]
        answers.append({"unknown": unknown, "passes": host.passes(chip, known)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
