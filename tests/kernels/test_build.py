"""The build: cached by content, honest about failures."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kernels import build, sources
from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild, read_record, write_record
from kernels.errors import RoofgateError
from kernels.fingerprint import machine_code_fingerprint
from kernels.workspace import Workspace

SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def small_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one host source and no CUDA."""
    folder = tmp_path / "kernels" / "csrc"
    folder.mkdir(parents=True)
    (folder / "answer.cpp").write_text(SOURCE)
    (folder / "exports.map").write_text("{ global: *; };\n")
    monkeypatch.chdir(tmp_path)
    return folder


def build_host() -> BuildRecord:
    """Build the host library of the present folder without a word."""
    return build.build(Workspace(), ["cpu"], progress=lambda _: None)


def test_building_one_library_keeps_the_others_of_the_same_sources(small_tree: Path) -> None:
    """They stay in the record until the sources change."""
    other = LibraryBuild(name="cuda_sm_80", architecture="sm_80", status=BuildStatus.NOT_RUN, reason="not asked for")
    write_record(replace(build_host(), libraries=(other,)), Workspace().build_record)
    beside = {library.name for library in build_host().libraries}
    (small_tree / "answer.cpp").write_text(SOURCE.replace("42", "43"))
    after_edit = {library.name for library in build_host().libraries}

    assert beside == {"cpu", "cuda_sm_80"}
    assert after_edit == {"cpu"}


@pytest.mark.usefixtures("small_tree")
def test_an_unchanged_source_is_not_compiled_again() -> None:
    """The second build finds everything, and says so."""
    first, second = build_host().library("cpu"), build_host().library("cpu")

    assert not first.cached
    assert second.cached
    assert replace(first, cached=True, seconds=0.0) == second


def test_a_comment_changes_no_machine_code(small_tree: Path) -> None:
    """The fingerprint is of what the processor executes: it survives a comment and another folder."""
    first = build_host().library("cpu")
    (small_tree / "answer.cpp").write_text("// a comment\n\n" + SOURCE)
    second = build_host().library("cpu")

    assert first.library != second.library
    assert first.fingerprint == second.fingerprint


def test_an_edit_changes_the_fingerprint(small_tree: Path) -> None:
    """One constant is enough."""
    first = build_host().library("cpu")
    (small_tree / "answer.cpp").write_text(SOURCE.replace("42", "43"))

    assert first.fingerprint != build_host().library("cpu").fingerprint


def test_the_record_tells_each_sources_code(small_tree: Path) -> None:
    """Of two sources, an edit changes the fingerprint of its own; a comment changes none."""
    (small_tree / "question.cpp").write_text(SOURCE.replace("answer", "question"))
    before = {item.source: item.fingerprint for item in build_host().library("cpu").objects}
    (small_tree / "answer.cpp").write_text(SOURCE.replace("42", "43"))
    (small_tree / "question.cpp").write_text("// why?\n" + SOURCE.replace("answer", "question"))
    after = {item.source: item.fingerprint for item in build_host().library("cpu").objects}

    assert sorted(before) == ["kernels/csrc/answer.cpp", "kernels/csrc/question.cpp"]
    assert {source for source in before if before[source] != after[source]} == {"kernels/csrc/answer.cpp"}


@pytest.mark.usefixtures("small_tree")
def test_a_record_is_read_as_it_was_written() -> None:
    """With the objects and their links."""
    record = build_host()
    linked = replace(record.library("cpu").objects[0], calls=("b.cpp",), borrows=("c.cpp",))
    written = replace(record, libraries=(replace(record.library("cpu"), objects=(linked,)),))
    write_record(written, Workspace().build_record)

    assert read_record(Workspace().build_record) == written


@pytest.mark.usefixtures("small_tree")
def test_the_record_of_another_commit_is_read() -> None:
    """A field that is missing has its default, and one that only the other commit knows is left out."""
    record, path = build_host(), Workspace().build_record
    content = json.loads(path.read_text())
    library = content["libraries"][0]
    del library["objects"], library["link_flags"]
    library["of_a_later_version"] = {"a": 1}
    library["device_code"] = [{"source": "a.cu", "cubin": "a", "ptx": "b", "compiler_log": "c", "later": 1}]
    path.write_text(json.dumps(content))
    read = read_record(path).library("cpu")

    assert (read.objects, read.link_flags) == ((), ())
    assert read.device_code[0].source == "a.cu"
    assert replace(read, device_code=()) == replace(record.library("cpu"), objects=(), link_flags=())


@pytest.mark.usefixtures("small_tree")
def test_two_builds_may_compile_the_same_source_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Revisions share the folder of objects: whoever comes second finds the other's, and leaves it whole."""
    ran = build._run

    def run_after_another(command: list[str | Path], what: str) -> str:
        monkeypatch.setattr(build, "_run", ran)
        if "-c" in command:
            build_host()
        return ran(command, what)

    monkeypatch.setattr(build, "_run", run_after_another)
    record = build_host()
    (folder,) = (Workspace().root / "build" / "objects").iterdir()

    assert record.library("cpu").status is BuildStatus.BUILT
    assert sorted(path.name for path in folder.iterdir()) == ["answer.o", "compile.log"]


def test_a_changed_header_recompiles(small_tree: Path) -> None:
    """A header is part of every source's content."""
    build_host()
    (small_tree / "answer.h").write_text("#pragma once\n")

    assert not build_host().library("cpu").cached


def test_a_source_that_does_not_compile_keeps_the_compilers_words(small_tree: Path) -> None:
    """The record of the failed library holds what the compiler said; the build itself does not raise."""
    (small_tree / "answer.cpp").write_text("int answer() { return forty_two; }\n")
    library = build_host().library("cpu")

    assert library.status is BuildStatus.FAILED
    assert "forty_two" in library.reason
    assert "answer.cpp" in library.reason


@pytest.mark.usefixtures("small_tree")
def test_without_a_compiler_the_library_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing compiler is named with its remedy."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    library = build_host().library("cpu")

    assert library.status is BuildStatus.NOT_RUN
    assert "no-such-compiler" in library.reason
    assert "install one" in library.reason


@pytest.mark.usefixtures("small_tree")
def test_an_unknown_architecture_is_an_error() -> None:
    """The message lists what is known."""
    with pytest.raises(RoofgateError, match="'sm_42' is not known; expected one of: cpu, sm_80"):
        build.build(Workspace(), ["sm_42"])


def test_a_missing_record_says_what_to_run(tmp_path: Path) -> None:
    """Whoever needs a build learns how to make one."""
    with pytest.raises(RoofgateError, match="nothing is built yet; run: nox -s build"):
        read_record(tmp_path / "build.json")


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1}', '{"schema": 99}', "[]"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    """Truncated, foreign and newer records are named, never half read."""
    path = tmp_path / "build.json"
    path.write_text(content)
    with pytest.raises(RoofgateError, match="run: nox -s build"):
        read_record(path)


def test_a_fingerprint_needs_an_elf_file() -> None:
    """Anything else is refused, not hashed."""
    with pytest.raises(RoofgateError, match="no ELF binary"):
        machine_code_fingerprint(b"not a library")


def test_the_present_build_is_complete(build_record: BuildRecord) -> None:
    """The host library is built, and every CUDA library too unless there is no nvcc, which its record says."""
    assert build_record.library("cpu").status is BuildStatus.BUILT
    for architecture in sources.CUDA_ARCHITECTURES:
        library = build_record.library(build.cuda_library_name(architecture.name))
        assert library.status is BuildStatus.BUILT or "nvcc is not here" in library.reason
        for code in library.device_code:
            assert Path(code.cubin).stat().st_size > 0
            assert f".target {architecture.name}" in Path(code.ptx).read_text()


def test_host_kernels_do_not_need_the_best_processor() -> None:
    """Only files named after an instruction set are compiled for it; the rest runs on any processor of the family."""
    flags = dict(sources.cxx_sources())
    general = [flag for path, flag in flags.items() if not {"avx", "amx"} & {path.stem.rpartition("_")[2][:3]}]

    assert general
    assert not any(word.startswith("-mavx") or word == "-march=native" for flag in general for word in flag)


@pytest.mark.parametrize("name", ["cpu", "cuda_sm_80"])
def test_libraries_export_only_the_interface(build_record: BuildRecord, name: str) -> None:
    """Two commits' libraries share a process, so nothing else of theirs may meet."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm (binutils) is not installed")
    built = build_record.library(name)
    if built.status is not BuildStatus.BUILT:
        pytest.skip(built.reason)
    command = [nm, "-D", "--defined-only", built.library]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-1] for line in listing.splitlines()]

    assert symbols
    assert all(symbol.startswith("roofgate_") for symbol in symbols)
