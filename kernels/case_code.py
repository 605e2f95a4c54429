"""The machine code behind one case, so that two revisions can be told apart kernel by kernel.

The names of the host sources say what runs when (:mod:`kernels.sources`): ``<operation>_cpu.cpp`` always,
``<operation>_cpu_<instruction set>.cpp`` on that instruction set, ``cpu_*.cpp`` for every operation. What these reach
through the linker is followed from there. In doubt more code counts than runs: a case is then measured needlessly, but
never called identical wrongly.

Equal code may still lie at another address, since the library around it differs; identity is of the code alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from kernels.build_record import LibraryBuild, ObjectCode
from kernels.sources import INSTRUCTION_SETS

_OPERATION_SOURCE = re.compile(r"(?P<operation>.+?)_cpu(?:_(?P<part>.+))?")


def has_same_code(base: LibraryBuild, candidate: LibraryBuild, operation: str, isa: str) -> bool:
    """Whether a case of ``operation`` on ``isa`` executes equal machine code in both libraries.

    Also where one of the records is too old to know its objects, if the whole libraries are equal.
    """
    if not (base.fingerprint and candidate.fingerprint):
        return False
    if base.fingerprint == candidate.fingerprint:
        return True
    return case_code(base, operation, isa) == case_code(candidate, operation, isa)


def case_code(library: LibraryBuild, operation: str, isa: str) -> str:
    """SHA-256 of the machine code that a case can execute.

    Args:
        library: as built. CUDA libraries and old records name no objects: then the library's own fingerprint is
            returned, as it is for an operation or instruction set that the sources' names do not tell.
        operation: "attention_fwd".
        isa: a host instruction set as measurements record it: "portable", "avx2", "avx512", "avx512_bf16".
    """
    objects = {item.source: item for item in library.objects}
    suffix = isa.replace("_", "")
    roots = _roots(objects, operation, suffix)
    if not roots:
        return library.fingerprint
    reached = _reached(objects, roots, suffix)
    digest = hashlib.sha256("\0".join(["case", *library.link_flags]).encode())
    for fingerprint in sorted(objects[source].fingerprint for source in reached):
        digest.update(f"\0{fingerprint}".encode())
    return digest.hexdigest()


def _roots(sources: Iterable[str], operation: str, suffix: str) -> set[str]:
    """The sources that a case executes by their names; empty if the names do not tell."""
    own, own_instruction_sets, shared = set(), set(), set()
    for source in sources:
        name, instruction_set = _operation_of(source)
        if not name:
            shared.add(source)
        elif name == operation and instruction_set in ("", suffix):
            own.add(source)
        if name == operation and instruction_set:
            own_instruction_sets.add(instruction_set)
    is_told = own and (not own_instruction_sets or suffix in own_instruction_sets)
    return own | shared if is_told else set()


def _operation_of(source: str) -> tuple[str, str]:
    """Operation and instruction set that a source is named after, each empty if it is for all of them."""
    found = _OPERATION_SOURCE.fullmatch(PurePosixPath(source).stem)
    if found is None:
        return "", ""
    part = found["part"] or ""
    return found["operation"], part if part in INSTRUCTION_SETS else ""


def _reached(objects: Mapping[str, ObjectCode], roots: set[str], suffix: str) -> set[str]:
    """``roots`` and what they reach. General code that calls into another instruction set's is a choice not taken."""
    reached: set[str] = set()
    waiting = sorted(roots)
    while waiting:
        source = waiting.pop()
        if source in reached or source not in objects:
            continue
        reached.add(source)
        is_dispatcher = not _operation_of(source)[1]
        calls = objects[source].calls
        waiting += [callee for callee in calls if not is_dispatcher or _operation_of(callee)[1] in ("", suffix)]
        waiting += objects[source].borrows
    return reached
