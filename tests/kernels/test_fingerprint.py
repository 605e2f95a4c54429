"""Object files are told apart by what they execute, and by nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from kernels.fingerprint import machine_code_fingerprint, object_fingerprint
from kernels.toolchain import find_cxx

SOURCE = """\
extern "C" int first(int);
extern "C" int second(int);
static __attribute__((noinline)) int local_one(int x) { return x * 3 + first(x); }
static __attribute__((noinline, cold)) int local_two(int x) { return x * 5 - first(x); }
static const double table[] = {1.5, 2.5, 3.5, 4.5};
static int (*const jumps[])(int) = {local_one, local_two};
extern "C" double entry(int x) {
  if (x > 100) return local_two(x);
  return local_one(x) + first(x) + table[x & 3] + jumps[x & 1](x);
}
extern "C" int other(int x) { return x + 40; }
extern "C" const double* place() { return &table[1]; }
static thread_local int counted = 3;
extern "C" int count() { return ++counted; }
"""


def compiled(folder: Path, source: str, *flags: str, name: str = "unit.cpp") -> bytes:
    """The object file of ``source``, compiled as the project compiles its own: by a path relative to the root."""
    (folder / "csrc").mkdir(parents=True, exist_ok=True)
    (folder / "csrc" / name).write_text(source)
    command = [find_cxx(), "-O2", "-fPIC", *flags, "-c", f"csrc/{name}", "-o", "unit.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "unit.o").read_bytes()


@pytest.fixture
def original(tmp_path: Path) -> str:
    """Fingerprint of SOURCE."""
    return object_fingerprint(compiled(tmp_path / "original", SOURCE))


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        (SOURCE, ()),
        ("// a comment\n\n\n" + SOURCE.replace("\n", "\n\n"), ()),
        (SOURCE.replace("local_one", "renamed").replace("table", "constants").replace("counted", "tally"), ()),
        ("static int unused_elsewhere(int x) { return x; }\n" + SOURCE, ("-Wno-unused-function",)),
        (SOURCE, ("-g",)),
    ],
    ids=["another worktree", "comments and lines", "local names", "a function left out", "debug information"],
)
def test_what_does_not_execute_does_not_count(
    tmp_path: Path, original: str, source: str, flags: tuple[str, ...]
) -> None:
    """Folder, comments, line numbers, local names and their numbering, and debug sections leave it as it is."""
    assert object_fingerprint(compiled(tmp_path / "elsewhere", source, *flags)) == original


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x * 3", "x * 7"),
        ("3.5, 4.5", "3.5, 4.6"),
        ("x + 40", "(x + 40) ^ 1"),
        ("+ first(x) + table", "+ second(x) + table"),
        ("{local_one, local_two}", "{local_two, local_one}"),
        ("&table[1]", "&table[2]"),
        ("static const double table", "alignas(64) static const double table"),
        ("counted = 3", "counted = 4"),
        ("int other(", "int another("),
        ('extern "C" int other', 'extern "C" __attribute__((weak)) int other'),
        ('extern "C" int other', 'extern "C" __attribute__((visibility("hidden"))) int other'),
        ('extern "C" int other', 'extern "C" __attribute__((aligned(256))) int other'),
        ('extern "C" double entry', 'int counter = 5; extern "C" double entry'),
        ('extern "C" double entry', 'long zeros[9]; extern "C" double entry'),
    ],
    ids=[
        "constant in the code",
        "constant in a table",
        "added instruction",
        "call to another function",
        "order of a table of functions",
        "place in a table",
        "alignment of a table",
        "constant of a thread",
        "name that others call",
        "binding",
        "visibility",
        "alignment",
        "variable",
        "zeroed variable",
    ],
)
def test_whatever_executes_counts(tmp_path: Path, original: str, before: str, after: str) -> None:
    """One mutation each of the code, its constants, and where calls lead."""
    assert before in SOURCE
    assert object_fingerprint(compiled(tmp_path / "mutated", SOURCE.replace(before, after))) != original


def test_equal_bytes_that_call_another_function_differ(tmp_path: Path) -> None:
    """An unlinked call has no address yet: only the relocation tells the two apart."""
    caller = 'extern "C" int {0}(int); extern "C" int entry(int x) {{ return {0}(x) + 1; }}\n'
    one, two = (compiled(tmp_path / name, caller.format(name)) for name in ("callee_one", "callee_two"))

    assert object_fingerprint(one) != object_fingerprint(two)


def test_two_functions_that_exchange_their_names_differ(tmp_path: Path) -> None:
    """Sections and relocations are equal; who calls f by name now gets what g was."""
    source = 'extern "C" int f(int x) { return x * 7; }\nextern "C" int g(int x) { return x * 9; }\n'
    exchanged = source.replace("f(", "h(").replace("g(", "f(").replace("h(", "g(")

    assert object_fingerprint(compiled(tmp_path / "a", source)) != object_fingerprint(
        compiled(tmp_path / "b", exchanged)
    )


def linked(folder: Path, source: str) -> bytes:
    """The shared library of ``source``."""
    compiled(folder, source)
    command = [find_cxx(), "-shared", "-s", "-Wl,--build-id=none", "unit.o", "-o", "unit.so"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "unit.so").read_bytes()


@pytest.mark.parametrize(
    ("before", "after"), [("= {one, two}", "= {two, one}"), ("getpid", "getuid")], ids=["table", "other library"]
)
def test_what_the_loader_fills_in_counts(tmp_path: Path, before: str, after: str) -> None:
    """A library's tables of functions, and its calls into other libraries, are bytes of no code section."""
    source = """\
extern "C" int getpid();
static int one(int x) { return x * 3; }
static int two(int x) { return x * 5 + getpid(); }
extern "C" { extern int (*const table[])(int); int (*const table[])(int) = {one, two}; }
"""
    original = machine_code_fingerprint(linked(tmp_path / "a", source))

    assert machine_code_fingerprint(linked(tmp_path / "b", "// again\n" + source)) == original
    assert machine_code_fingerprint(linked(tmp_path / "c", source.replace(before, after))) != original


def test_another_instruction_set_differs(tmp_path: Path, original: str) -> None:
    """The same source with other flags is other code."""
    assert object_fingerprint(compiled(tmp_path / "flags", SOURCE, "-O0")) != original


@pytest.mark.parametrize("content", [b"", b"no object", b"\x7fELF"])
def test_an_object_must_be_elf(content: bytes) -> None:
    """Anything else is refused with the remedy."""
    with pytest.raises(RoofgateError, match="delete out/build and build again"):
        object_fingerprint(content)
