"""Builds of two revisions for tests: the real host library behind records whose fingerprints the test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kernels.build import HOST_LIBRARY
from kernels.build_record import BuildRecord, LibraryBuild, ObjectCode, read_record
from perf.model import Capture, CaptureSet, Device, Layer, Metric
from perf.paired.model import Mode
from perf.paired.planning import Scope
from perf.paired.revision_builds import RevisionBuild
from perf.paired.revisions import Revision
from tests.builders import build_machine

OBJECTS = ("attention_fwd_cpu", "attention_fwd_cpu_avx512", "attention_fwd_cpu_avx512bf16", "cpu_thread_pool")


def build_library(changed: Mapping[str, str] | None = None) -> LibraryBuild:
    """The present host library, with one invented fingerprint per object; ``changed`` replaces some of them."""
    fingerprints = {name: f"code of {name}" for name in OBJECTS} | dict(changed or {})
    objects = tuple(
        ObjectCode(source=f"kernels/csrc/{name}.cpp", fingerprint=fingerprint, calls=(), borrows=())
        for name, fingerprint in fingerprints.items()
    )
    return replace(read_record().library(HOST_LIBRARY), fingerprint=repr(sorted(fingerprints.items())), objects=objects)


def build_captures(fingerprint: str, registers: float = 100) -> CaptureSet:
    """One CUDA kernel on two architectures."""
    captures = tuple(
        Capture(
            kernel="attention_fwd<bf16, 128, full>",
            architecture=architecture,
            layer=Layer.STATIC,
            counters={Metric.REGISTERS: registers, Metric.SPILL_BYTES: 0.0},
            fingerprint=fingerprint,
        )
        for architecture in ("sm_80", "sm_90a")
    )
    return CaptureSet(layer=Layer.STATIC, tree="invented", captures=captures)


def build_side(
    name: str, *, library: LibraryBuild | None, captures: CaptureSet | None = None, reason: str = ""
) -> RevisionBuild:
    """One side; without a library it did not build, for the reason given."""
    revision = Revision(
        name=name,
        commit_id=name.ljust(40, "0"),
        subject="invented",
        dirty=False,
        root=Path.cwd(),
        is_working_tree=False,
    )
    record = BuildRecord(sources_digest=name, libraries=(library,) if library else ())
    failures = {} if library else {HOST_LIBRARY: reason}
    return RevisionBuild(revision=revision, record=record, library_failures=failures, captures=captures)


def build_scope(base: RevisionBuild, candidate: RevisionBuild, mode: Mode = Mode.LIBRARIES) -> Scope:
    """Two sides on an invented machine without a GPU."""
    return Scope(base=base, candidate=candidate, machine=build_machine(), targets={Device.CPU: "cpu"}, mode=mode)
