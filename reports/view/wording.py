"""The words of the report: marks of verdicts, names of layers, metrics and implementations."""

from __future__ import annotations

from perf import units
from perf.findings import Comparison, GateVerdict
from perf.model import OWN_IMPLEMENTATION, Case, CeilingKind, Layer, MaskKind, Metric, Operation, Verdict
from perf.work import flop_count
from reports.view import quantities
from reports.view.quantities import bare_value, span
from reports.view.tables import Mark

# Glyphs differ in shape, so that verdicts read without colour. For time, up is slower.
MARKS = {
    Verdict.REGRESSED: Mark(glyph="▲", word="regressed", tone="regressed"),
    Verdict.IMPROVED: Mark(glyph="▼", word="improved", tone="improved"),
    Verdict.INCONCLUSIVE: Mark(glyph="?", word="inconclusive", tone="inconclusive"),
    Verdict.UNCHANGED: Mark(glyph="●", word="unchanged", tone="unchanged"),
    Verdict.IDENTICAL: Mark(glyph="=", word="identical", tone="identical"),
    Verdict.NOT_RUN: Mark(glyph="○", word="not compared", tone="not-run"),
}

# An exact figure that moved where neither direction is better.
DIFFERS = Mark(glyph="≠", word="differs", tone="differs")

RULE_MARKS = {
    Verdict.REGRESSED: Mark(glyph="▲", word="breached", tone="regressed"),
    Verdict.IMPROVED: Mark(glyph="●", word="holds", tone="improved"),
    Verdict.INCONCLUSIVE: Mark(glyph="?", word="inconclusive", tone="inconclusive"),
    Verdict.UNCHANGED: Mark(glyph="●", word="holds", tone="improved"),
    Verdict.IDENTICAL: Mark(glyph="=", word="holds", tone="improved"),
    Verdict.NOT_RUN: Mark(glyph="○", word="not run", tone="not-run"),
}

GATE_MARKS = {
    GateVerdict.PASS: Mark(glyph="✓", word="Pass", tone="improved"),
    GateVerdict.REGRESSION: Mark(glyph="▲", word="Regression", tone="regressed"),
    GateVerdict.ERROR: Mark(glyph="✕", word="Error", tone="regressed"),
    GateVerdict.NO_VERDICT: Mark(glyph="?", word="No verdict", tone="inconclusive"),
}

# Attention first; within a table of changes, the bad news first.
VERDICT_ORDER = (
    Verdict.REGRESSED,
    Verdict.INCONCLUSIVE,
    Verdict.IMPROVED,
    Verdict.UNCHANGED,
    Verdict.IDENTICAL,
    Verdict.NOT_RUN,
)

LAYER_MEANING = {
    Layer.STATIC: "what the compiler knows, exact",
    Layer.SIMULATED: "counted by running the PTX on the host, exact",
    Layer.TIMED: "measured on the machine, judged by statistics",
    Layer.HARDWARE: "Nsight Compute counters",
}

METRIC_TITLES = {
    Metric.TIME: "time",
    Metric.THROUGHPUT: "throughput",
    Metric.ROOFLINE_FRACTION: "fraction of the roofline",
    Metric.PEER_RATIO: "ratio to the peer",
    Metric.TIME_OVER_SHARE: "time over the share of tiles",
    Metric.REGISTERS: "registers per thread",
    Metric.SPILL_BYTES: "spilled",
    Metric.STACK_BYTES: "stack frame",
    Metric.SHARED_MEMORY_BYTES: "shared memory per block",
    Metric.BARRIERS: "barriers",
    Metric.OCCUPANCY: "theoretical occupancy",
    Metric.COMPILER_WARNINGS: "compiler warnings",
    Metric.SASS_INSTRUCTIONS: "SASS instructions",
    Metric.SASS_TENSOR: "tensor core instructions",
    Metric.SASS_SHARED_MATRIX_LOADS: "shared-memory matrix loads",
    Metric.SASS_ASYNC_COPIES: "asynchronous copies",
    Metric.SASS_SPECIAL_FUNCTION: "special function instructions",
    Metric.SASS_LOCAL_MEMORY: "local memory instructions",
    Metric.SIMULATED_FINDINGS: "findings of the checks",
    Metric.SIMULATED_INSTRUCTIONS: "executed PTX warp-instructions",
    Metric.SIMULATED_TENSOR: "executed: tensor products",
    Metric.SIMULATED_FLOAT: "executed: floating-point arithmetic",
    Metric.SIMULATED_SPECIAL: "executed: special functions",
    Metric.SIMULATED_INTEGER: "executed: integer and logic",
    Metric.SIMULATED_CONVERT: "executed: conversions",
    Metric.SIMULATED_MOVE: "executed: moves and selections",
    Metric.SIMULATED_LANES: "executed: exchange between lanes",
    Metric.SIMULATED_LOAD_STORE: "executed: loads, stores and copies",
    Metric.SIMULATED_CONTROL: "executed: control and barriers",
    Metric.SIMULATED_DIVERGENT: "executed without all lanes",
    Metric.SIMULATED_BARRIERS: "barriers executed by warps",
    Metric.SIMULATED_WAVEFRONTS: "shared-memory wavefronts per request",
    Metric.SIMULATED_SECTORS: "global-memory sectors per request",
    Metric.SIMULATED_GLOBAL_SECTORS: "global-memory sectors",
    Metric.SIMULATED_COPY_BYTES: "bytes of asynchronous copies",
    Metric.HW_DURATION: "time under the profiler",
    Metric.HW_INSTRUCTIONS: "executed warp-instructions",
    Metric.HW_TENSOR: "executed tensor core instructions",
    Metric.HW_SHARED_WAVEFRONTS: "shared-memory wavefronts",
    Metric.HW_GLOBAL_SECTORS: "sectors of global loads and stores",
    Metric.HW_LOCAL_INSTRUCTIONS: "executed local memory instructions",
    Metric.HW_L2_SECTORS: "sectors at the L2 cache",
    Metric.HW_DRAM_BYTES: "bytes of DRAM traffic",
}

CEILING_TITLES = {
    CeilingKind.COPY: "copy bandwidth",
    CeilingKind.INSTRUCTION_PEAK: "instruction peak",
    CeilingKind.GEMM: "GEMM",
}

BOUND_MEANING = {
    "bytes": "memory bandwidth",
    "tensor": "matrix arithmetic",
    "exp": "exponentials",
}


OPERATION_TITLES = {
    Operation.ATTENTION_FWD: "attention forward",
    Operation.ATTENTION_BWD: "attention backward",
}


def mask_words(case: Case) -> str:
    """The mask and what else decides the scores: ``causal mask, sequences of different lengths, softcap 30``."""
    size = case.mask.size
    words = [
        {
            MaskKind.FULL: "full mask",
            MaskKind.CAUSAL: "causal mask",
            MaskKind.WINDOW: f"causal window of {size} keys",
            MaskKind.PREFIX: f"causal mask after a prefix of {size} keys",
            MaskKind.DOCUMENT: f"causal mask within documents of {size} keys on average",
            MaskKind.BLOCKS: f"{size} % of the blocks of 128 x 128 empty",
        }[case.mask.kind]
    ]
    words += ["sequences of different lengths"] if case.varlen else []
    words += [f"softcap {case.softcap:g}"] if case.softcap else []
    words += ["ALiBi"] if case.alibi else []
    return ", ".join(words)


def implementation_title(implementation: str) -> str:
    """``torch_flash`` as people say it; our own stays as it is."""
    return implementation if implementation == OWN_IMPLEMENTATION else implementation.replace("_", " ")


def case_sort_key(case: Case) -> str:
    """Sorts cases by operation, type, head size, mask, what modifies the scores, and then amount of work."""
    parts = (
        f"{list(Operation).index(case.operation)} {case.dtype.key} {case.head_dim:04d}",
        f"{list(MaskKind).index(case.mask.kind)} {case.mask.size:07d}",
        f"{case.varlen:d} {case.softcap > 0:d} {case.alibi:d}",
        f"{flop_count(case):020d}",
    )
    return " ".join(parts)


def exact_mark(comparison: Comparison) -> Mark:
    """The mark of an exact figure that moved."""
    return DIFFERS if comparison.verdict is Verdict.UNCHANGED else MARKS[comparison.verdict]


def change_sentence(comparison: Comparison) -> str:
    """What happened to the figure, with its interval where it has one."""
    if comparison.interval is None or comparison.change is None:
        return f"{METRIC_TITLES[comparison.metric]} {before_and_after(comparison)}"
    slower = "slower" if comparison.change > 0 else "faster"
    if comparison.metric is not Metric.TIME:
        slower = "more" if comparison.change > 0 else "less"
    interval = comparison.interval
    return (
        f"{units.percent(abs(comparison.change))} {slower}, {quantities.confidence(interval)} interval "
        f"{span(interval, units.change)}"
    )


def before_and_after(comparison: Comparison) -> str:
    """``168 → 255``, or what is missing."""
    texts = [
        "nothing" if value is None else bare_value(comparison.metric, value)
        for value in (comparison.baseline, comparison.candidate)
    ]
    return " → ".join(texts)
