"""Runs of the transformer as files: ``out/transformer/<setting>-<device>.json``, the newest run of each.

Schema history of ``document["roofgate_transformer"]["schema"]``:

* 1 (2026-11-24): first. The run as :mod:`perf.paired.codec` writes it, samples in seconds, losses in nats per byte.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf.model import Problem
from perf.paired.codec import decode, encode
from perf.stored_document import read_document
from perf.transformer.results import Timing, TransformerRun

SCHEMA = 1
_KEY = "roofgate_transformer"


def transformer_folder(workspace: Workspace) -> Path:
    """Where the files lie."""
    return workspace.root / "transformer"


def write_run(folder: Path, run: TransformerRun) -> Path:
    """Write the run in place of the last one of its setting and device; returns the path."""
    path = folder / f"{run.setting.name}-{run.device.value}.json"
    document = {_KEY: {"schema": SCHEMA, "tree": run.commit.tree}, "run": encode(replace(run, path=""))}
    write_atomically(path, json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")
    return path


def read_run(path: Path) -> TransformerRun:
    """Read one file; raises :class:`RoofgateError` that says why it cannot be used."""
    document = read_document(path, _KEY, SCHEMA)
    try:
        run: TransformerRun = decode(TransformerRun, document.get("run"))
        _check(run)
    except (ValueError, RecursionError) as error:
        raise RoofgateError(f"not the content of a transformer run ({str(error).lstrip('.: ')[:300]})") from error
    return replace(run, path=str(path))


def _check(run: TransformerRun) -> None:
    """Judged here, not where they are used, so that a damaged file is skipped as a whole."""
    for phase in run.phases:
        for timing in (phase.torch, phase.own):
            _check_timing(timing)
    for curves in run.curves:
        lengths = {len(curve.losses) for curve in (curves.reference, curves.own, *curves.controls)}
        if len(lengths) != 1 or 0 in lengths or not curves.controls:
            raise ValueError(f"{curves.dtype.key}: curves and at least one control need equally many losses")


def _check_timing(timing: Timing) -> None:
    spans = timing.spans
    if len({len(spans.forward_s), len(spans.backward_s), len(spans.step_s)}) != 1 or not spans.step_s:
        raise ValueError(f"{timing.implementation.value}: every step needs its forward and backward seconds")
    if not timing.step_s or not timing.alone_s or min(*timing.step_s, *timing.alone_s, *spans.step_s, 1.0) <= 0:
        raise ValueError(f"{timing.implementation.value}: samples are positive seconds")


def read_runs(workspace: Workspace) -> tuple[tuple[TransformerRun, ...], tuple[Problem, ...]]:
    """The stored run of every setting and device, and the files that could not be read."""
    runs: list[TransformerRun] = []
    problems: list[Problem] = []
    for path in sorted(transformer_folder(workspace).glob("*.json")):
        try:
            runs.append(read_run(path))
        except RoofgateError as error:
            problems.append(Problem(subject=str(path), reason=f"skipped: {error}"))
    return tuple(runs), tuple(problems)
