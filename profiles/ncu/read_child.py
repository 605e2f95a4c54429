"""Run as a program: read one ``.ncu-rep`` with NVIDIA's ``ncu-report`` and write what it holds as JSON.

A process of its own, since the library is native code that takes any bytes: it may crash, hang or ask for all memory.
Nothing of ours is imported, so that a start costs little. ``argv``: the report. Standard output: one JSON object;
``{"absent": true}`` if the package is not installed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Any

MEMORY_LIMIT = 8 << 30  # bytes of address space; reports are some megabytes
PER_LINE = frozenset(
    {
        "inst_executed",
        "memory_l1_wavefronts_shared",
        "memory_l1_wavefronts_shared_ideal",
        "memory_l2_theoretical_sectors_global",
        "memory_l2_theoretical_sectors_global_ideal",
        "smsp__pcsamp_sample_count",
    }
)
KINDS = ("INF", "INF", "OPT", "WRN", "ERR")  # of MsgType, as ncu prints them
UNKNOWN_VALUE_KINDS = (0, 1)  # ValueKind_UNKNOWN, ValueKind_ANY
STRING = 2  # ValueKind_STRING

Json = dict[str, Any]


Metric = Any  # ncu_report.IMetric; the package has no types
Action = Any  # ncu_report.IAction, one profiled launch


def read(path: str) -> Json:
    """Everything that is needed of one report, as plain values."""
    context = import_module("ncu_report").load_report(path)
    return {
        "version": _version(),
        "launches": [_launch(action) for profiled in context for action in profiled],
    }


def _version() -> str:
    try:
        return metadata.version("ncu-report")
    except metadata.PackageNotFoundError:
        return "of an installed Nsight Compute"  # its extras/python, on PYTHONPATH


def _launch(action: Action) -> Json:
    lines = _LineNames(action)
    return {
        "kernel": action.name(action.NameBase_DEMANGLED),
        "function": action.name(action.NameBase_FUNCTION),
        "metrics": [_metric(name, action.metric_by_name(name), lines) for name in action.metric_names()],
        "ranges": list(_ranges(action)),
        "rules": [_rule(rule) for rule in action.rule_results_as_dicts()],
    }


def _metric(name: str, metric: Metric, lines: _LineNames) -> list[Any]:
    """``[name, value or null, unit, parts]``."""
    if metric is None or metric.kind() in UNKNOWN_VALUE_KINDS or not metric.has_value():
        return [name, None, "", {}]
    kind = metric.kind()
    if kind == STRING:
        return [name, metric.as_string(), "", {}]
    value = metric.as_double() if kind in (metric.ValueKind_DOUBLE, metric.ValueKind_FLOAT) else metric.as_uint64()
    parts = {}
    if "_per_opcode" in name:
        parts = _parts(metric)
    elif name in PER_LINE:
        parts = lines.sum_by_line(metric)
    return [name, value, metric.unit(), parts]


def _parts(metric: Metric) -> Json:
    names = metric.correlation_ids()
    if names is None:
        return {}
    return {str(names.value(index)): metric.as_double(index) for index in range(metric.num_instances())}


class _LineNames:
    """Names the source line of each instruction, or its offset in the kernel where the binary has no line numbers."""

    def __init__(self, action: Action) -> None:
        self._action = action
        self._names: dict[int, str] = {}
        start = action.metric_by_name("launch__function_pcs")
        self._start = start.as_uint64() if start is not None and start.has_value() else 0

    def sum_by_line(self, metric: Metric) -> Json:
        """The instances of ``metric``, which stand at program counters, added up line by line."""
        counters = metric.correlation_ids()
        totals: dict[str, float] = {}
        for index in range(metric.num_instances()) if counters is not None else ():
            name = self._name(counters.as_uint64(index))
            totals[name] = totals.get(name, 0.0) + metric.as_double(index)
        return totals

    def _name(self, counter: int) -> str:
        if counter not in self._names:
            source = self._action.source_info(counter)
            offset = f"+{counter - self._start:#06x}"
            self._names[counter] = f"{source.file_name()}:{source.line()}" if source else offset
        return self._names[counter]


def _ranges(action: Action) -> Iterator[tuple[str, str]]:
    state = action.nvtx_state()
    if state is None:
        return
    domains = [state.domain_by_id(identifier) for identifier in state.domains()]
    for domain in domains:
        yield from ((domain.name(), name) for name in domain.push_pop_ranges())
    for domain in domains:
        yield from ((domain.name(), name) for name in domain.start_end_ranges())


def _rule(rule: Json) -> list[str]:
    message = rule["rule_message"]
    kind = int(message["type"])
    return [
        rule["section_identifier"],
        rule["rule_identifier"],
        KINDS[kind] if kind < len(KINDS) else "",
        message["message"],
    ]


def main(path: str) -> None:
    """Write the report at ``path``; standard output is kept for that alone, whatever the library prints."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape") as out:
        os.dup2(2, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, resource.getrlimit(resource.RLIMIT_AS)[1]))
        try:
            answer = read(path)
        except ModuleNotFoundError:
            answer = {"absent": True}
        json.dump(answer, out, ensure_ascii=False)  # bytes that are no UTF-8 leave as they came


if __name__ == "__main__":
    main(sys.argv[1])
