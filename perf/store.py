"""Runs as immutable files in pytest-benchmark's format, and the smaller files of captures and steps.

Schema history of ``document["roofgate"]["schema"]``:

* 1 (2026-11-23): first. Run-wide fields under ``roofgate``; of each benchmark, what pytest-benchmark has no place for
  under ``extra_info.roofgate``; samples are pytest-benchmark's own ``stats.data``, in seconds per call. Fields that
  came later and may be missing: ``selection`` of a run; ``dropped`` and ``setting`` of a measurement; ``varlen``,
  ``softcap`` and ``alibi`` of a case. Until 2026-11-24 a case had ``causal``, true or false, in place of ``mask``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf.case import case_fields, case_from_fields
from perf.model import (
    Capture,
    CaptureSet,
    Case,
    Ceiling,
    CeilingKind,
    Commit,
    Device,
    DType,
    Gpu,
    Layer,
    Machine,
    Measurement,
    Metric,
    Problem,
    Run,
    StepStatus,
)
from perf.stored_document import read_document

SCHEMA = 1
_KEY = "roofgate"
# No call takes less or more; outside of these a file is damaged, and ratios would leave the range of floats.
_SHORTEST_S, _LONGEST_S = 1e-12, 1e9
# What reading a file of the wrong shape raises, whatever is wrong with it.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)

Json = dict[str, Any]


def run_id(started: str, commit: Commit, suite: str) -> str:
    """The name of a run and of its file: ``20261123T135947Z-0123456789-smoke``; ``+`` marks uncommitted edits.

    Args:
        started: ISO 8601 in UTC, as in :class:`perf.model.Run`.
        commit: what was measured.
        suite: name of the suite.
    """
    stamp = started.split("+")[0].split(".")[0].rstrip("Z").replace("-", "").replace(":", "")
    return f"{stamp}Z-{commit.short}-{suite}"


def benchmark_name(measurement: Measurement) -> str:
    """The name that pytest-benchmark knows a measurement by."""
    return f"{measurement.case.name}[{measurement.implementation}]"


def ceiling_name(ceiling: Ceiling) -> str:
    """The name that pytest-benchmark knows a ceiling by."""
    dtype = ceiling.dtype.key if ceiling.dtype else "any"
    return f"ceiling-{ceiling.kind.value}-{ceiling.device.value}-{dtype}"


def annotate(document: Mapping[str, Any], run: Run) -> Json:
    """``document``, pytest-benchmark's JSON, with everything of ``run`` that the format has no place for.

    A measurement or ceiling that ``document`` has no benchmark for has no samples to be kept with; it becomes a problem
    of the run instead.
    """
    extra: dict[str, Json] = {benchmark_name(item): _measurement_json(item) for item in run.measurements}
    extra |= {ceiling_name(item): _ceiling_json(item) for item in run.ceilings}
    recorded = {benchmark["name"] for benchmark in document["benchmarks"]}
    lost = [Problem(subject=name, reason="measured, but not recorded") for name in extra if name not in recorded]
    benchmarks = [_annotated(benchmark, extra) for benchmark in document["benchmarks"]]
    return {**document, "benchmarks": benchmarks, _KEY: _run_json(replace(run, problems=(*run.problems, *lost)))}


def _annotated(benchmark: Json, extra: Mapping[str, Json]) -> Json:
    if benchmark["name"] not in extra:
        return benchmark
    return {**benchmark, "extra_info": {**benchmark.get("extra_info", {}), _KEY: extra[benchmark["name"]]}}


def write_run(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write an annotated document as ``folder/<run id>.json`` and return the path.

    Raises :class:`RoofgateError` if that run is already stored: runs are never overwritten.
    """
    path = folder / f"{document[_KEY]['id']}.json"
    if path.exists():
        raise RoofgateError(f"{path} exists and runs are never overwritten; wait a second and measure again")
    write_atomically(path, json.dumps(document, separators=(",", ":")) + "\n")
    return path


def read_run(path: Path) -> Run:
    """Read one run file; raises :class:`RoofgateError` that says why a file cannot be used."""
    document = read_document(path, _KEY, SCHEMA)
    try:
        return replace(_run_from(document), path=str(path))
    except _MALFORMED as error:
        raise RoofgateError(f"not the content of a run ({error!r:.200})") from error


def load_runs(folder: Path) -> tuple[tuple[Run, ...], tuple[Problem, ...]]:
    """Every run in ``folder``, newest first, and one problem for each file that cannot be read."""
    return load_run_files(run_files(folder))


def run_files(folder: Path) -> tuple[Path, ...]:
    """The run files in ``folder`` by name, newest first; none if there is no such folder. Hidden files are no runs."""
    visible = (path for path in folder.glob("*.json") if not path.name.startswith("."))
    return tuple(sorted(visible, key=lambda path: path.name, reverse=True))


def load_run_files(paths: tuple[Path, ...]) -> tuple[tuple[Run, ...], tuple[Problem, ...]]:
    """The runs in ``paths``, newest first, and one problem for each file that cannot be read."""
    runs: list[Run] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            runs.append(read_run(path))
        except RoofgateError as error:
            problems.append(Problem(subject=str(path), reason=f"skipped: {error}"))
    return tuple(sorted(runs, key=lambda run: (run.started, run.id), reverse=True)), tuple(problems)


def _run_json(run: Run) -> Json:
    return {
        "schema": SCHEMA,
        "id": run.id,
        "started": run.started,
        "suite": run.suite,
        "selection": run.selection,
        "commit": asdict(run.commit),
        "machine": asdict(run.machine) | {"fingerprint": run.machine.fingerprint},
        "problems": [asdict(problem) for problem in run.problems],
        "complete": run.complete,
        "wall_s": run.wall_s,
        "measured_s": run.measured_s,
    }


def _run_from(document: Json) -> Run:
    content = document[_KEY]
    ours = [item for item in document["benchmarks"] if _KEY in item["extra_info"]]
    return Run(
        id=content["id"],
        started=content["started"],
        suite=content["suite"],
        selection=content.get("selection", ""),
        commit=Commit(**content["commit"]),
        machine=_machine_from(content["machine"]),
        ceilings=tuple(_ceiling_from(item["extra_info"][_KEY]) for item in ours if _is_ceiling(item)),
        measurements=tuple(_measurement_from(item) for item in ours if not _is_ceiling(item)),
        problems=tuple(Problem(**item) for item in content["problems"]),
        complete=content["complete"],
        wall_s=content["wall_s"],
        measured_s=content["measured_s"],
    )


def _machine_from(content: Json) -> Machine:
    fields = {key: value for key, value in content.items() if key != "fingerprint"}
    fields["instruction_sets"] = tuple(fields["instruction_sets"])
    fields["gpus"] = tuple(Gpu(**gpu) for gpu in fields["gpus"])
    return Machine(**fields)


@lru_cache(maxsize=4096)
def _case_from(items: tuple[tuple[str, Any], ...]) -> Case:
    # Cached: every run has the same few cases, several times each.
    return case_from_fields(dict(items))


def _measurement_json(measurement: Measurement) -> Json:
    return {
        "kind": "measurement",
        "case": case_fields(measurement.case),
        "device": measurement.device.value,
        "target": measurement.target,
        "implementation": measurement.implementation,
        "iterations": measurement.iterations,
        "isa": measurement.isa,
        "library_fingerprint": measurement.library_fingerprint,
        "max_abs_difference": measurement.max_abs_difference,
        "dropped": measurement.dropped,
        "setting": dict(measurement.setting),
    }


def _measurement_from(benchmark: Json) -> Measurement:
    content, samples = benchmark["extra_info"][_KEY], tuple(benchmark["stats"]["data"])
    # Judged here, not where they are used, so that one damaged file is skipped as a whole.
    if not samples or not all(_SHORTEST_S < sample < _LONGEST_S for sample in samples):
        raise ValueError(f"{benchmark['name']}: samples must be positive seconds")
    return Measurement(
        case=_case_from(tuple(content["case"].items())),
        device=Device(content["device"]),
        target=content["target"],
        implementation=content["implementation"],
        samples_s=samples,
        iterations=content["iterations"],
        library_fingerprint=content["library_fingerprint"],
        isa=content["isa"],
        max_abs_difference=content["max_abs_difference"],
        dropped=content.get("dropped", 0),
        setting=dict(content.get("setting", {})),
    )


def _is_ceiling(benchmark: Json) -> bool:
    return bool(benchmark["extra_info"][_KEY]["kind"] == "ceiling")


def _ceiling_json(ceiling: Ceiling) -> Json:
    return {
        "kind": "ceiling",
        "ceiling": ceiling.kind.value,
        "device": ceiling.device.value,
        "dtype": ceiling.dtype.key if ceiling.dtype else None,
        "value": ceiling.value,
        "samples": list(ceiling.samples),
        "detail": ceiling.detail,
    }


def _ceiling_from(content: Json) -> Ceiling:
    return Ceiling(
        kind=CeilingKind(content["ceiling"]),
        device=Device(content["device"]),
        dtype=DType.from_key(content["dtype"]) if content["dtype"] else None,
        value=content["value"],
        samples=tuple(content["samples"]),
        detail=content["detail"],
    )


def write_capture_set(folder: Path, captures: CaptureSet) -> Path:
    """Write the captures of one layer as ``folder/<layer>.json``, replacing those of an earlier source tree."""
    content = {
        "schema": SCHEMA,
        "layer": captures.layer.value,
        "tree": captures.tree,
        "captures": [_capture_json(capture) for capture in captures.captures],
        "problems": [asdict(problem) for problem in captures.problems],
    }
    path = folder / f"{captures.layer.value}.json"
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return path


def read_captures(folder: Path) -> tuple[tuple[CaptureSet, ...], tuple[Problem, ...]]:
    """The capture set of every layer that has one, and one problem for each file that cannot be read."""
    sets: list[CaptureSet] = []
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.json")):
        try:
            sets.append(_capture_set_from(_checked(path)))
        except (OSError, *_MALFORMED) as error:
            problems.append(Problem(subject=str(path), reason=f"skipped: {error!r:.200}; run: nox -s profile"))
    return tuple(sets), tuple(problems)


def _checked(path: Path) -> Json:
    content = json.loads(path.read_bytes())
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']!r}, expected {SCHEMA}")
    return dict(content)


def _capture_json(capture: Capture) -> Json:
    fields = {name: getattr(capture, name) for name in Capture.__slots__}
    counters = {metric.key: value for metric, value in capture.counters.items()}
    return fields | {"layer": capture.layer.value, "counters": counters, "opcodes": dict(capture.opcodes)}


def _capture_from(content: Json) -> Capture:
    fields = dict(content)
    fields["layer"] = Layer(fields["layer"])
    fields["counters"] = {Metric.from_key(key): float(value) for key, value in fields["counters"].items()}
    fields["warnings"] = tuple(fields["warnings"])
    return Capture(**fields)


def _capture_set_from(content: Json) -> CaptureSet:
    return CaptureSet(
        layer=Layer(content["layer"]),
        tree=content["tree"],
        captures=tuple(_capture_from(item) for item in content["captures"]),
        problems=tuple(Problem(**item) for item in content["problems"]),
    )


def read_steps(workspace: Workspace) -> tuple[tuple[StepStatus, ...], tuple[Problem, ...]]:
    """How each step last ended, oldest first, and one problem for each status file that cannot be read."""
    steps: list[StepStatus] = []
    problems: list[Problem] = []
    for path in sorted(workspace.steps.glob("*.json")):
        try:
            steps.append(StepStatus(**json.loads(path.read_bytes())))
        except (OSError, *_MALFORMED) as error:
            problems.append(Problem(subject=str(path), reason=f"skipped: {error!r:.200}"))
    return tuple(sorted(steps, key=lambda step: step.started)), tuple(problems)


def files_mentioning(paths: tuple[Path, ...], tree: str) -> Iterator[Path]:
    """Those files whose bytes have ``tree`` in them at all: only these can be runs of that source tree.

    A search through bytes is some fifty times faster than parsing JSON, which matters to the gate.
    """
    needle = tree.encode()
    for path in paths:
        try:
            if needle in path.read_bytes():
                yield path
        except OSError:
            yield path  # reading it will say what is wrong
