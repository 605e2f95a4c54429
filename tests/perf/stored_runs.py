"""Runs as pytest-benchmark's plugin would hand them over."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, median
from typing import Any

from perf import store
from perf.model import Run


def as_document(run: Run) -> dict[str, Any]:
    """pytest-benchmark's JSON of ``run``, without anything of ours."""
    benchmarks = [_benchmark(store.benchmark_name(item), item.samples_s, item.iterations) for item in run.measurements]
    benchmarks += [_benchmark(store.ceiling_name(item), (0.5,), 1) for item in run.ceilings]
    return {
        "machine_info": {"node": "n"},
        "commit_info": {"id": "x"},
        "benchmarks": benchmarks,
        "datetime": "2026-01-05",
    }


def save(folder: Path, run: Run) -> Path:
    """Store ``run`` in ``folder``."""
    return store.write_run(folder, store.annotate(as_document(run), run))


def _benchmark(name: str, samples: tuple[float, ...], iterations: int) -> dict[str, Any]:
    stats = {"data": list(samples), "iterations": iterations, "rounds": len(samples), "total": sum(samples)}
    for key in (
        "min",
        "max",
        "q1",
        "q3",
        "iqr",
        "stddev",
        "ops",
        "ld15iqr",
        "hd15iqr",
        "iqr_outliers",
        "stddev_outliers",
    ):
        stats[key] = min(samples)
    stats |= {"median": median(samples), "mean": fmean(samples), "outliers": "0;0"}
    return {
        "group": None,
        "name": name,
        "fullname": f"bench.py::{name}",
        "params": None,
        "param": None,
        "extra_info": {},
        "options": {},
        "stats": stats,
    }
