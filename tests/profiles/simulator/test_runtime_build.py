"""The run-time's program: compiled once for each content, whole or not at all, and never silently incomplete."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from profiles.simulator import runtime_build
from profiles.simulator.runtime_build import RuntimeBuildError, runtime_program

MAIN = '#include "answer.h"\nint main() { return answer(); }\n'
ANSWER = '#include "answer.h"\n#include "number.h"\nint answer() { return kNumber; }\n'


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A program of two sources; one header is included by both, one by one."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "main.cpp").write_text(MAIN)
    (folder / "answer.cpp").write_text(ANSWER)
    (folder / "answer.h").write_text("#pragma once\nint answer();\n")
    (folder / "number.h").write_text("#pragma once\nconstexpr int kNumber = 42;\n")
    return folder


def build(sources: Path) -> tuple[Path, list[str]]:
    """Build, and the names of the sources that were compiled for it."""
    told: list[str] = []
    program = runtime_program(sources.parent / "out", told.append, sources)
    return program, sorted(line.split()[1] for line in told)


def exit_code(program: Path) -> int:
    """What the program returns."""
    return subprocess.run([program], check=False).returncode


def test_an_edit_compiles_what_it_concerns_and_nothing_else(sources: Path) -> None:
    """Sources are known by their own text and that of the headers that they reach."""
    assert build(sources)[1] == ["answer.cpp", "main.cpp"]
    first, again = build(sources)
    (sources / "number.h").write_text("#pragma once\nconstexpr int kNumber = 7;\n")
    second, compiled = build(sources)

    assert again == []
    assert compiled == ["answer.cpp"]
    assert (exit_code(first), exit_code(second)) == (42, 7)


def test_going_back_to_an_older_text_compiles_nothing(sources: Path) -> None:
    """Objects are kept by content, so two branches do not throw each other's away."""
    first = build(sources)[0]
    (sources / "number.h").write_text("#pragma once\nconstexpr int kNumber = 7;\n")
    build(sources)
    (sources / "number.h").write_text("#pragma once\nconstexpr int kNumber = 42;\n")

    assert build(sources) == (first, [])


def test_every_source_that_does_not_compile_is_told_at_once(sources: Path) -> None:
    """In the compiler's words; and no program is left behind."""
    (sources / "main.cpp").write_text("int main() { return first_mistake; }\n")
    (sources / "answer.cpp").write_text("int answer() { return second_mistake; }\n")

    with pytest.raises(RuntimeBuildError, match=r"(?s)does not compile.*second_mistake.*first_mistake"):
        build(sources)
    assert not list((sources.parent / "out").rglob("simulator-*"))


def test_a_program_with_a_part_missing_is_an_error(sources: Path) -> None:
    """The linker's words: a family of instructions that is not there must not be found out by a crash."""
    (sources / "answer.cpp").unlink()

    with pytest.raises(RuntimeBuildError, match="answer"):
        build(sources)


def test_an_edit_during_the_compilation_leaves_no_object_under_a_wrong_name(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the older text would be given the newer object for ever."""
    texts = iter([b"// before\n", b"// after\n"])
    contents = runtime_build._contents

    def changing(source: Path) -> Iterator[bytes]:
        yield from contents(source)
        if source.name == "answer.cpp":
            yield next(texts)

    monkeypatch.setattr(runtime_build, "_contents", changing)

    with pytest.raises(RuntimeBuildError, match=r"answer\.cpp was edited"):
        build(sources)
    assert not list((sources.parent / "out" / "objects").glob("answer-*.o"))


def test_without_a_compiler_the_error_says_what_to_install(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``$CXX`` is asked first, as for the kernels."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    runtime_build._compiler.cache_clear()

    with pytest.raises(RoofgateError, match="CXX is 'no-such-compiler'"):
        build(sources)
    runtime_build._compiler.cache_clear()


def test_operations_are_listed(simulator: Path) -> None:
    """``simulator --operations``: sorted, once each, from every family."""
    answer = subprocess.run([simulator, "--operations"], capture_output=True, text=True, check=True)
    names = answer.stdout.split()

    assert names == sorted(set(names))
    assert {"bra", "exit", "bar.warp.sync"} <= set(names)
