"""Programs on disk, found again by what decides them: the kernel's own PTX and the sources that lower it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from kernels.artifacts import write_atomically
from profiles.simulator.lowering.lower import lower_kernel
from profiles.simulator.lowering.program import program_text
from profiles.simulator.ptx import kernel_text, parse_module

_SOURCE_FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "ptx")


def cached_program(text: str, kernel: str, folder: Path) -> Path:
    """The program file of one kernel of a PTX module; it is lowered only if ``folder`` does not hold it yet.

    Args:
        text: the whole module.
        kernel: the kernel's (mangled) name.
        folder: where programs are kept, by hash; made if missing.

    Raises:
        PtxError: if the PTX cannot be read.
        LoweringError: for the first instruction that the simulator does not know.
    """
    path = folder / f"{_digest(kernel_text(text, kernel))}.program"
    if not path.exists():
        write_atomically(path, program_text(lower_kernel(parse_module(text, [kernel]), kernel)))
    return path


def _digest(kernel: str) -> str:
    return hashlib.sha256(f"{sources_digest()}\n{kernel}".encode()).hexdigest()[:32]


@functools.cache
def sources_digest() -> str:
    """Digest of the Python sources that turn PTX into programs."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in _SOURCE_FOLDERS for path in folder.rglob("*.py")):
        digest.update(f"{path.relative_to(_SOURCE_FOLDERS[0].parent)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
