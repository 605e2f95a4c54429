"""The machine code of a cubin: how often each kernel holds each opcode, and whether it is the same code as before."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from perf.model import Metric

DISASSEMBLE_TIMEOUT_S = 120
CACHE_SCHEMA = 1
PADDING_OPCODE = "NOP"

# Opcodes by what the static metrics count. CUDA Binary Utilities, "Instruction Set Reference".
OPCODE_CLASSES: Mapping[Metric, frozenset[str]] = {
    Metric.SASS_TENSOR: frozenset(
        {
            *("HMMA", "IMMA", "DMMA", "BMMA", "QMMA", "OMMA"),  # one warp
            *("HGMMA", "QGMMA", "IGMMA", "BGMMA"),  # a group of four warps
            *("UTCHMMA", "UTCQMMA", "UTCIMMA", "UTCOMMA"),  # one thread
        }
    ),
    Metric.SASS_SHARED_MATRIX_LOADS: frozenset({"LDSM"}),
    Metric.SASS_ASYNC_COPIES: frozenset({"LDGSTS", "UTMALDG", "UBLKCP"}),  # from global to shared memory
    Metric.SASS_SPECIAL_FUNCTION: frozenset({"MUFU"}),
    Metric.SASS_LOCAL_MEMORY: frozenset({"LDL", "STL"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """The machine code of one kernel."""

    opcodes: Mapping[str, int]  # without modifiers and without padding; the most frequent first
    fingerprint: str  # SHA-256 of the kernel's instructions and constants


class _Instruction(BaseModel):
    opcode: str


class _Function(BaseModel):
    name: str = Field(alias="function-name")
    instructions: list[_Instruction] = Field(alias="sass-instructions")


class _Version(BaseModel):
    major: int
    minor: int


class _Architecture(BaseModel):
    version: _Version


class _Header(BaseModel):
    architecture: _Architecture = Field(alias="SM")


_LISTING = TypeAdapter(tuple[_Header, list[_Function]])


def count_metrics(opcodes: Mapping[str, int]) -> dict[Metric, float]:
    """All instructions, and those of each class. Counts of the code, not of what runs: a loop's body counts once."""
    counts = {
        metric: float(sum(opcodes.get(opcode, 0) for opcode in members)) for metric, members in OPCODE_CLASSES.items()
    }
    return {Metric.SASS_INSTRUCTIONS: float(sum(opcodes.values())), **counts}


class Disassembler:
    """Reads cubins with nvdisasm and keeps what it read by the cubin's content.

    Args:
        nvdisasm: the tool, from the CUDA package that the project pins.
        cache: folder for what was read; deleting it loses nothing.
    """

    def __init__(self, nvdisasm: Path, cache: Path) -> None:
        self._nvdisasm = nvdisasm
        self._cache = cache
        self._tool_digest = hashlib.sha256(nvdisasm.read_bytes()).digest()

    def read(self, cubin: Path, architecture: str) -> Mapping[str, MachineCode]:
        """The functions of ``cubin`` by symbol.

        Raises :class:`RoofgateError` if the file is missing, damaged, or for another architecture ("sm_90a").
        """
        try:
            content = cubin.read_bytes()
        except OSError as error:
            raise RoofgateError(f"{cubin}: cannot be read ({error.strerror}); run: nox -s build") from error
        digest = hashlib.sha256(self._tool_digest + architecture.encode() + b"\0" + content).hexdigest()
        kept = self._cache / f"{digest}.json"
        functions = _read_kept(kept)
        if functions is None:
            functions = self._disassemble(cubin, content, architecture)
            write_atomically(kept, _to_json(functions))
        return functions

    def _disassemble(self, cubin: Path, content: bytes, architecture: str) -> Mapping[str, MachineCode]:
        command = [str(self._nvdisasm), "-json", str(cubin)]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=DISASSEMBLE_TIMEOUT_S)
            if answer.returncode:
                raise _unusable(cubin, answer.stderr.strip())
            opcodes = parse_listing(answer.stdout, architecture)
            return {
                name: MachineCode(opcodes=counts, fingerprint=code_fingerprint(content, name))
                for name, counts in opcodes.items()
            }
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise _unusable(cubin, str(error)) from error


def _unusable(cubin: Path, reason: str) -> RoofgateError:
    return RoofgateError(f"{cubin}: not a usable cubin ({reason}); delete out/build and run: nox -s build")


def parse_listing(listing: str, architecture: str) -> dict[str, Mapping[str, int]]:
    """Opcode counts of each function in the output of ``nvdisasm -json``.

    Raises :class:`ValueError` if it is no such output, or of code for another architecture.
    """
    try:
        header, functions = _LISTING.validate_json(listing)
    except ValidationError as error:
        raise ValueError(
            f"unknown nvdisasm output: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}"
        ) from error
    version = header.architecture.version
    if architecture.rstrip("af") != f"sm_{version.major}{version.minor}":
        raise ValueError(f"it holds code for sm_{version.major}{version.minor}, expected {architecture}")
    by_kernel: dict[str, list[_Instruction]] = {}
    for function in functions:
        by_kernel.setdefault(_kernel_of(function.name), []).extend(function.instructions)
    return {kernel: _opcode_counts(instructions) for kernel, instructions in by_kernel.items()}


def _kernel_of(function: str) -> str:
    """The kernel whose code a function is part of: itself, or what stands before the callee in ``$kernel$callee``.

    nvdisasm 13.0 lists subroutines apart from the kernel that contains them, 13.5 within it.
    """
    return function[1:].partition("$")[0] if function.startswith("$") else function


def _opcode_counts(instructions: list[_Instruction]) -> Mapping[str, int]:
    """Counts without modifiers, and without the padding after the last instruction, which depends on alignment."""
    opcodes = [instruction.opcode.partition(".")[0] for instruction in instructions]
    while opcodes and opcodes[-1] == PADDING_OPCODE:
        opcodes.pop()
    return dict(sorted(Counter(opcodes).items(), key=lambda item: (-item[1], item[0])))


def code_fingerprint(cubin: bytes, function: str) -> str:
    """SHA-256 of the encoded instructions of ``function`` and of the constants that the compiler gave it.

    The encoding holds more than the listing (stall counts and barriers of the scheduler, which decide the time) and
    does not depend on the disassembler. Symbol names, paths and line tables lie in other sections. Data that several
    kernels share is not covered; the fingerprint of the whole library is (:mod:`kernels.fingerprint`).

    Raises :class:`ValueError` if ``cubin`` is damaged or has no such function.
    """
    digest = hashlib.sha256()
    found = False
    try:
        for section in ELFFile(io.BytesIO(cubin)).iter_sections():
            kind = section.name.removesuffix(f".{function}")
            if kind != section.name and kind.startswith((".text", ".nv.constant")):
                found = found or kind == ".text"
                digest.update(kind.encode() + b"\0" + section.data() + b"\0")
    except ELFError as error:
        raise ValueError(f"damaged ELF file: {error}") from error
    if not found:
        raise ValueError(f"no code of function {function!r}")
    return digest.hexdigest()


def _to_json(functions: Mapping[str, MachineCode]) -> str:
    return json.dumps({"schema": CACHE_SCHEMA, "functions": {name: asdict(code) for name, code in functions.items()}})


def _read_kept(path: Path) -> Mapping[str, MachineCode] | None:
    """What was kept at ``path``; None if there is nothing that this version can use."""
    try:
        content = json.loads(path.read_text())
        if content["schema"] != CACHE_SCHEMA:
            return None
        return {name: MachineCode(**code) for name, code in content["functions"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # a damaged entry costs one more disassembly and is then replaced
