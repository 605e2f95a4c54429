"""Observe the machine that measures."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from kernels.errors import RoofgateError
from kernels.toolchain import find_cxx, version_line
from perf.model import Gpu, Machine

# The extensions that decide which of our kernels and which of torch's run. Others do not change a timing's meaning.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "sve", "bf16", "i8mm")


def observe_machine() -> Machine:
    """The machine as it is now, with torch's present thread count."""
    cpu = _cpu_facts()
    return Machine(
        cpu_model=cpu.get("model name") or platform.processor() or platform.machine(),
        cpu_count=len(os.sched_getaffinity(0)),
        instruction_sets=_instruction_sets(cpu.get("flags") or cpu.get("Features") or ""),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        compiler=_compiler(),
        gpus=observe_gpus(),
    )


def observe_gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that torch can use."""
    if not torch.cuda.is_available():
        return ()
    driver = _driver_version()
    return tuple(_gpu(torch.cuda.get_device_properties(index), driver) for index in range(torch.cuda.device_count()))


def _gpu(properties: torch.cuda._CudaDeviceProperties, driver: str) -> Gpu:
    return Gpu(
        name=properties.name,
        architecture=f"sm_{properties.major}{properties.minor}",
        multiprocessors=properties.multi_processor_count,
        memory_bytes=properties.total_memory,
        driver=driver,
    )


def _driver_version() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return f"unknown ({error})"
    return str(version)


def _cpu_facts(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The key-value lines of the first processor; empty where the system has no such file."""
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _instruction_sets(flags: str) -> tuple[str, ...]:
    present = set(flags.split())
    return tuple(name for name in _INSTRUCTION_SETS if name in present)


def _compiler() -> str:
    try:
        return version_line(find_cxx())
    except RoofgateError:
        return "none"
