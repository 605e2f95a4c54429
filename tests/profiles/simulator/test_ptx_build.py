"""The PTX of this project's own kernels: all of it is read, and what is read is all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernels.build_record import BuildStatus, read_record
from profiles.simulator.ptx import kernel_names, kernel_text, parse_module
from profiles.simulator.ptx.syntax import Kernel

# Inline assembly may have a brace at the start of a line too: an entry ends where something of the module follows.
_ENTRY = re.compile(
    r"^\.visible \.entry (\w+)\((.*?)^\{$(.*?)^\}$(?=\s*(?:\.file|// \.globl|\.section|\Z))", re.MULTILINE | re.DOTALL
)
_LABEL = re.compile(r"^\s*[\w$]+:", re.MULTILINE)


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Texts of the present build's PTX files that have kernels, each once."""
    libraries = [library for library in read_record().libraries if library.status is BuildStatus.BUILT]
    paths = [Path(code.ptx) for library in libraries for code in library.device_code]
    texts = sorted({path.read_text() for path in paths})
    if not texts:
        pytest.skip("no CUDA library is built here: the build record says why")
    return [text for text in texts if ".entry" in text]


def counted_instructions(body: str) -> int:
    """Statements of a body that begin like an instruction: an independent count, which knows the compiler's layout."""
    body = re.sub(r"//[^\n]*|^\s*\.loc[^\n]*", "", body, flags=re.MULTILINE)
    statements = (re.sub(r"^(?:[{}\s]|[\w$]+:(?!:))+", "", statement) for statement in body.split(";"))
    return sum(statement[:1] == "@" or statement[:1].islower() for statement in statements)


def test_every_instruction_label_and_parameter_of_the_build_is_read(modules: list[str]) -> None:
    """Against counts by regular expressions, for every kernel of every architecture."""
    for text in modules:
        expected = {
            name: (
                counted_instructions(body),
                len(_LABEL.findall(body)),
                head.count(".param"),
            )
            for name, head, body in _ENTRY.findall(text)
        }
        found = {
            name: (len(kernel.instructions), len(kernel.labels), len(kernel.parameters))
            for name, kernel in parse_module(text).kernels.items()
        }
        assert found == expected


def test_every_instruction_of_the_build_has_its_own_text_and_a_cuda_line(modules: list[str]) -> None:
    """The PTX line is the one that the instruction begins on; its location is in a file of the line table."""
    for text in modules:
        lines = text.splitlines()
        name = kernel_names(text)[0]
        module = parse_module(text, [name])
        for item in module.kernels[name].instructions:
            assert item.opcode in lines[item.ptx_line - 1]
            assert item.location is not None and item.location.line.file in module.files.values()


def test_call_sites_of_the_build_end_in_the_kernel(modules: list[str]) -> None:
    """The outermost line of every chain is one of the kernel's own, in the file that its first line names."""
    for text in modules:
        for name in kernel_names(text):
            (kernel,) = parse_module(text, [name]).kernels.values()
            first = re.search(rf"entry {name}\(.*?\.loc\s+(\d+) ", text, re.DOTALL)
            assert first is not None
            assert outermost_files(kernel) == {parse_module(text, []).files[int(first[1])]}


def outermost_files(kernel: Kernel) -> set[str]:
    """Files of the lines at the end of the chains of call sites.

    Code of several calls that the compiler has merged stands at its own line, without any call site.
    """
    locations = [item.location for item in kernel.instructions if item.location]
    return {location.inlined_at[-1].file for location in locations if location.inlined_at}


def test_a_kernels_text_is_a_module_of_it_alone(modules: list[str]) -> None:
    """And small: the other kernels are not in it."""
    text = max(modules, key=len)
    for name in kernel_names(text):
        alone = kernel_text(text, name)
        assert kernel_names(alone) == (name,)
        expected, found = parse_module(text, [name]).kernels[name], parse_module(alone).kernels[name]
        assert [item.text for item in found.instructions] == [item.text for item in expected.instructions]
        assert [item.location for item in found.instructions] == [item.location for item in expected.instructions]
