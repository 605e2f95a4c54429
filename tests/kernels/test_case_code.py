"""A case's code is that of the objects it can execute: no more than it must, and never less than it does."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.build_record import BuildStatus, LibraryBuild, ObjectCode
from kernels.case_code import case_code, has_same_code
from kernels.object_links import object_codes
from kernels.toolchain import find_cxx

ISAS = ("portable", "avx2", "avx512", "avx512_bf16")
OPERATIONS = tuple(f"operation_{letter}" for letter in "abcdefghij")


def source_of(operation: str, isa: str = "") -> str:
    """By the naming rule."""
    return f"kernels/csrc/{operation}_cpu{isa and '_' + isa.replace('_', '')}.cpp"


def object_of(source: str, **links: tuple[str, ...]) -> ObjectCode:
    """An object whose fingerprint is told by its name."""
    return ObjectCode(source=source, fingerprint=f"code of {source}", **links)


def library_of(*objects: ObjectCode) -> LibraryBuild:
    """A host library of these objects."""
    fingerprint = " ".join(item.fingerprint for item in objects)
    return LibraryBuild(
        name="cpu", architecture="cpu", status=BuildStatus.BUILT, fingerprint=fingerprint, objects=objects
    )


def edited(library: LibraryBuild, source: str) -> LibraryBuild:
    """``library`` after an edit that changed the code of one source."""
    changed = [replace(item, fingerprint="edited") if item.source == source else item for item in library.objects]
    return replace(library, fingerprint=f"{library.fingerprint}, {source} edited", objects=tuple(changed))


def changed_cases(before: LibraryBuild, after: LibraryBuild, operations: tuple[str, ...]) -> set[tuple[str, str]]:
    """The cases whose code differs."""
    cases = {(operation, isa) for operation in operations for isa in ISAS}
    return {case for case in cases if not has_same_code(before, after, *case)}


FIFTY = library_of(*(object_of(source_of(operation, isa)) for operation in OPERATIONS for isa in ("", *ISAS)))
SMALL = library_of(
    object_of(source_of("scale"), calls=(*(source_of("scale", isa) for isa in ISAS), "kernels/csrc/cpu_pool.cpp")),
    *(object_of(source_of("scale", isa)) for isa in ISAS),
    object_of("kernels/csrc/cpu_pool.cpp"),
    object_of(source_of("ceilings")),
    object_of(source_of("ceilings", "avx2")),
)


@given(st.integers(0, 49))
def test_one_edit_of_fifty_changes_exactly_the_cases_that_use_it(edit: int) -> None:
    """One instruction set's source: that case alone. An operation's general source: its four cases."""
    assert len(FIFTY.objects) == 50
    source = FIFTY.objects[edit].source
    operation, position = OPERATIONS[edit // 5], edit % 5
    expected = {(operation, isa) for isa in (ISAS if position == 0 else (ISAS[position - 1],))}

    assert changed_cases(FIFTY, edited(FIFTY, source), OPERATIONS) == expected


def test_shared_code_changes_every_case() -> None:
    """The thread pool runs under all of them."""
    assert len(changed_cases(SMALL, edited(SMALL, "kernels/csrc/cpu_pool.cpp"), ("scale",))) == len(ISAS)


@pytest.mark.parametrize("source", [source_of("ceilings"), source_of("ceilings", "avx2")])
def test_ceilings_change_no_case(source: str) -> None:
    """They are measured, but no operation executes them."""
    assert changed_cases(SMALL, edited(SMALL, source), ("scale",)) == set()


def test_an_operation_whose_name_begins_with_anothers_is_another() -> None:
    """attention_fwd_varlen_cpu.cpp is no part of attention_fwd."""
    library = library_of(object_of(source_of("attention_fwd")), object_of(source_of("attention_fwd_varlen")))

    assert changed_cases(library, edited(library, source_of("attention_fwd_varlen")), ("attention_fwd",)) == set()


@pytest.mark.parametrize("source", ["kernels/csrc/scale_cpu_pack.cpp", "kernels/csrc/rounding.cpp"])
def test_a_source_that_the_rule_does_not_know_counts_for_every_case(source: str) -> None:
    """Rather measured needlessly than called identical wrongly."""
    library = replace(SMALL, objects=(*SMALL.objects, object_of(source)))

    assert len(changed_cases(library, edited(library, source), ("scale",))) == len(ISAS)


def test_a_call_into_another_operation_is_followed() -> None:
    """A backward pass that runs the forward kernel changes with it, on the same instruction set."""
    forward = [object_of(source_of("fwd", isa)) for isa in ISAS]
    dispatcher = object_of(source_of("fwd"), calls=tuple(item.source for item in forward))
    backward = object_of(source_of("bwd"), calls=(dispatcher.source,))
    library = library_of(backward, dispatcher, *forward)

    assert changed_cases(library, edited(library, dispatcher.source), ("bwd",)) == {("bwd", isa) for isa in ISAS}
    assert changed_cases(library, edited(library, source_of("fwd", "avx2")), ("bwd",)) == {("bwd", "avx2")}


def test_one_instruction_sets_code_may_run_anothers() -> None:
    """What the source for AVX-512 BF16 calls is taken, unlike the dispatcher's choice."""
    objects = [object_of(source_of("scale")), object_of(source_of("scale", "avx512"))]
    bf16 = object_of(source_of("scale", "avx512_bf16"), calls=(source_of("scale", "avx512"),))
    library = library_of(*objects, bf16)
    changed = changed_cases(library, edited(library, source_of("scale", "avx512")), ("scale",))

    assert {("scale", "avx512"), ("scale", "avx512_bf16")} <= changed


def test_an_inline_function_kept_from_another_object_counts() -> None:
    """The linker keeps one copy, perhaps that of another instruction set."""
    borrower = object_of(source_of("scale", "avx2"), borrows=(source_of("scale", "avx512"),))
    library = replace(SMALL, objects=tuple(borrower if i.source == borrower.source else i for i in SMALL.objects))
    changed = changed_cases(library, edited(library, source_of("scale", "avx512")), ("scale",))

    assert changed == {("scale", "avx2"), ("scale", "avx512")}


@pytest.mark.parametrize(
    ("library", "operation", "isa"),
    [
        (replace(SMALL, objects=()), "scale", "avx2"),
        (SMALL, "unheard_of", "avx2"),
        (SMALL, "scale", "avx10"),
        (SMALL, "scale", "sm_80"),
        (SMALL, "scale", ""),
    ],
    ids=["record of before objects were kept", "operation", "instruction set", "GPU", "no instruction set"],
)
def test_what_the_names_do_not_tell_is_the_whole_library(library: LibraryBuild, operation: str, isa: str) -> None:
    """Then any edit changes the case."""
    assert case_code(library, operation, isa) == library.fingerprint


def test_an_old_record_is_the_same_only_as_an_equal_library() -> None:
    """Of two records of one library, the older may not know its objects."""
    old = replace(SMALL, objects=())

    assert has_same_code(old, SMALL, "scale", "avx2")
    assert not has_same_code(old, edited(SMALL, source_of("ceilings")), "scale", "avx2")


def test_a_library_that_was_not_built_is_the_same_as_none() -> None:
    """Two failures are not identical code."""
    failed = LibraryBuild(name="cpu", architecture="cpu", status=BuildStatus.FAILED)

    assert not has_same_code(failed, failed, "scale", "avx2")


def test_other_link_flags_are_other_code() -> None:
    """They decide what is bound to what."""
    assert not has_same_code(
        SMALL, replace(edited(SMALL, source_of("ceilings")), link_flags=("-static",)), "scale", "avx2"
    )


def compiled(folder: Path, sources: dict[str, str]) -> dict[str, bytes]:
    """Objects by source."""
    objects = {}
    for name, content in sources.items():
        (folder / name).write_text(content)
        command = [find_cxx(), "-O1", "-fPIC", "-fno-inline", "-c", name, "-o", f"{name}.o"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        objects[name] = (folder / f"{name}.o").read_bytes()
    return objects


def test_links_are_read_from_real_objects(tmp_path: Path) -> None:
    """A call leads to the object that defines the function; an inline function to the one linked first."""
    inline = "inline int shared(int x) { return x * 3; }\n"
    sources = {
        "a.cpp": inline + "int a(int x) { return shared(x) + 1; }\n",
        "b.cpp": inline + "int a(int); int b(int x) { return shared(x) + a(x); }\n",
        "c.cpp": "int c(int x) { return x + 2; }\n",
    }
    a, b, c = object_codes(compiled(tmp_path, sources))

    assert (a.calls, a.borrows) == ((), ())
    assert (b.calls, b.borrows) == (("a.cpp",), ("a.cpp",))
    assert (c.calls, c.borrows) == ((), ())
    assert len({a.fingerprint, b.fingerprint, c.fingerprint}) == 3
