"""The text of the pages: what the first screen says, and what tables sort by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf import units
from perf.findings import GateResult, GateVerdict, NoiseFloor
from perf.model import Gpu, Interval, Layer, Metric, Problem, StepStatus, Verdict
from reports.view.case_page import build_case_page
from reports.view.case_table import build_case_table
from reports.view.changes import build_changes, kernel_changes
from reports.view.failures import build_failures, build_problem_table, first_line
from reports.view.frame import build_frame, slug
from reports.view.kernel_page import build_kernel_page
from reports.view.overview import Overview, build_overview
from reports.view.quantities import elapsed, moment, span
from reports.view.strips import STRIP_WIDTH, change_axis, sparkline
from reports.view.verdict import build_facts, build_layers, build_reasons, headline, how_sure
from reports.view.wording import MARKS, METRIC_TITLES, RULE_MARKS
from tests.builders import (
    COMPILER_ERROR,
    Shape,
    build_assessment,
    build_empty_assessment,
    build_failed_build_assessment,
    build_machine,
    build_rule,
)


def overview_of(assessment: object) -> Overview:
    """The content of the first page."""
    content = build_overview(assessment).content  # type: ignore[arg-type]
    assert isinstance(content, Overview)
    return content


def test_the_headline_says_what_changed_and_what_fails() -> None:
    """Cases, kernels and checks, in this order."""
    assert headline(build_assessment()) == (
        "1 of 24 cases is slower, 1 faster; 1 CUDA kernel costs more; 2 of 14 checks fail"
    )


def test_the_headline_of_a_failed_build_names_the_step() -> None:
    """Nothing else is known then."""
    assert headline(build_failed_build_assessment()) == "build failed"


def test_without_a_baseline_no_case_is_called_unchanged() -> None:
    """Not compared is not the same as unchanged."""
    assessment = build_assessment(Shape(kernels=0))
    cases = tuple(
        replace(
            case,
            comparison=replace(
                case.comparison,
                verdict=Verdict.NOT_RUN,
                baseline=None,
                change=None,
                interval=None,
                reason="no baseline",
            ),
        )
        for case in assessment.cases
    )
    gate = GateResult(verdict=GateVerdict.NO_VERDICT, results=(), reason="no baseline")
    assessment = replace(assessment, cases=cases, baseline=None, gate=gate)
    assert headline(assessment) == "24 cases timed, none compared with a baseline"
    changes = build_changes(assessment)
    assert changes.timed is None and changes.timed_rest == "24 cases timed, none compared: no baseline."


def test_reasons_are_the_failing_checks_and_then_uncovered_regressions() -> None:
    """The registers of the first kernel regressed too, but no rule covers them."""
    texts = [reason.text for reason in build_reasons(build_assessment())]
    assert len(texts) == 3
    assert "against a limit of 3 %" in texts[0] and "limit 0 B" in texts[1]
    assert texts[2].startswith("registers per thread 168 → 255")


def test_identical_machine_code_is_never_called_slower() -> None:
    """A change of the time is noise there: neither headline nor page states it as one."""
    assessment = build_assessment(Shape(cases=2, kernels=0))
    cases = tuple(
        replace(case, comparison=replace(case.comparison, verdict=Verdict.IDENTICAL)) for case in assessment.cases
    )
    gate = GateResult(verdict=GateVerdict.PASS, results=(), reason="2 checks keep their limits")
    assessment = replace(assessment, cases=cases, gate=gate)
    assert headline(assessment) == "all 2 cases run the machine code of the baseline"
    assert build_case_page(assessment, cases[0]).content.verdict_text == ""  # type: ignore[attr-defined]


def test_a_noise_floor_that_hides_most_changes_is_called_so() -> None:
    """A pass on a machine that could not have seen a regression must not look like any other."""
    noisy = build_assessment(noise=NoiseFloor(value=0.5, controls=5, reason="loaded machine"))
    fact = next(fact for fact in build_facts(noisy) if fact.name == "noise floor")
    assert fact.tone == "inconclusive" and "too noisy" in fact.detail


def test_how_sure_states_noise_floor_controls_and_typical_interval() -> None:
    """Or why there is no noise floor."""
    assert how_sure(build_assessment()) == (
        "Noise floor 0.4 % from 48 A/A controls. Typical 95 % interval of a change: ±0.6 %."
    )
    silent = build_assessment(noise=NoiseFloor(value=None, controls=0, reason="one run"))
    assert how_sure(silent) == "Noise floor unknown: one run."


def test_every_layer_is_shown_whether_it_ran_or_not() -> None:
    """All four layers, in the order of their cost."""
    layers = build_layers(build_assessment())
    assert [layer.name for layer in layers] == [layer.value for layer in Layer]
    assert [layer.mark.word for layer in layers] == ["ran", "not run", "ran", "not run"]


def test_a_relative_limit_is_written_as_a_change_and_an_absolute_one_in_its_unit() -> None:
    """0.079 of the time is 7.9 %, never 79 ms."""
    rules = (
        build_rule(value=0.079, verdict=Verdict.REGRESSED),
        build_rule(value=0.079, limit=0.05, verdict=Verdict.REGRESSED, relative=False),
    )
    gate = GateResult(verdict=GateVerdict.REGRESSION, results=rules, reason="")
    table = overview_of(build_assessment(gate=gate)).failed_rules
    assert table is not None
    assert [[cell.text for cell in row.cells[5:7]] for row in table.rows] == [
        ["+7.9 %", "+3.0 %"],
        ["79.00 ms", "50.00 ms"],
    ]


def test_changes_put_regressions_first_and_count_the_rest() -> None:
    """Bad news first, and no case unaccounted for."""
    changes = build_changes(build_assessment())
    assert changes.timed is not None
    assert [row.cells[1].text for row in changes.timed.rows] == ["regressed", "inconclusive", "improved"]
    assert changes.timed_rest == "21 unchanged besides these."


def test_cases_sort_by_numbers_and_not_by_their_text() -> None:
    """9.5 ms stands before 10 ms."""
    table = build_case_table(build_assessment())
    times = [column.title for column in table.columns].index("time")
    for row in table.rows:
        assert isinstance(row.cells[times].sort, float)


def test_a_case_without_history_says_so_and_has_no_course() -> None:
    """One point is no course."""
    assessment = build_assessment(Shape(cases=1, history=0))
    cell = build_case_table(assessment).rows[0].cells[-1]
    assert cell.sparkline is None and cell.hint == "first run on this machine"


def test_a_figure_that_differs_from_its_pin_is_marked_with_what_it_was() -> None:
    """Only the architecture that changed is marked."""
    assessment = build_assessment()
    page = build_kernel_page(assessment, assessment.kernels[0])
    table = page.content.counters  # type: ignore[attr-defined]
    registers = next(row for row in table.rows if row.cells[0].text == METRIC_TITLES[Metric.REGISTERS])
    changed = [cell for cell in registers.cells if "changed" in cell.tone]
    assert [(cell.text, cell.detail) for cell in changed] == [("255", "was 168")]


def test_a_figure_without_a_pin_did_not_change() -> None:
    """The second kernel is new: nothing of it counts as changed, and its page says what to do."""
    assessment = build_assessment(Shape(kernels=2))
    changed = {kernel.kernel for kernel, _ in kernel_changes(assessment.kernels)}
    assert changed == {assessment.kernels[0].kernel}
    content = build_kernel_page(assessment, assessment.kernels[1]).content
    assert content.differences is None  # type: ignore[attr-defined]
    assert "nox -s promote" in content.differences_note  # type: ignore[attr-defined]


def test_a_gpu_that_no_target_declares_is_said_to_be_unknown() -> None:
    """Its measured ceilings still apply; a declared one draws no remark."""
    gpu = Gpu(name="NVIDIA Unheard Of", architecture="sm_199", multiprocessors=1, memory_bytes=1, driver="1")
    unknown = replace(build_machine(), gpus=(gpu,))
    declared = replace(build_machine(), gpus=(replace(gpu, name="NVIDIA Invented gpu_small"),))
    assert "NVIDIA Unheard Of: not among" in overview_of(build_assessment(machine=unknown)).identity.undeclared
    assert overview_of(build_assessment(machine=declared)).identity.undeclared == ""


def test_a_compilers_words_stand_on_the_page_once() -> None:
    """The step, the list of problems and the gate's reason repeat each other; the page does not."""
    error = f"cpu does not compile:\n{COMPILER_ERROR}"
    assessment = replace(
        build_failed_build_assessment(),
        problems=(Problem(subject="step build", reason=error), Problem(subject="cpu", reason=COMPILER_ERROR)),
        gate=GateResult(verdict=GateVerdict.ERROR, results=(), reason=f"step build failed with exit code 2: {error}"),
    )
    failures = build_failures(assessment)
    assert [failure.message for failure in failures] == [error]
    table = build_problem_table(assessment)
    assert table is not None
    assert all("\n" not in cell.text for row in table.rows for cell in row.cells)


def test_a_step_that_failed_without_a_word_is_shown() -> None:
    """A silent failure is still a failure."""
    step = StepStatus(step="bench", tree="t", started="2026-01-05T10:15:00+00:00", wall_s=1.0, exit_code=1)
    failures = build_failures(build_empty_assessment(steps=(step,)))
    assert [failure.title for failure in failures] == ["bench failed (exit code 1)"]


def test_the_footer_says_which_run_and_how_much_of_it_was_overhead() -> None:
    """Every page says where its figures come from."""
    produced = " ".join(build_frame(build_assessment(), "index.html", "title").produced)
    for part in ("20260105-101500-a1b2c3d4e5", "suite default", "2 min 28 s", "3 min 12 s", "22.9 %"):
        assert part in produced


def test_every_verdict_has_its_own_glyph_and_word() -> None:
    """Verdicts read in black and white."""
    assert set(MARKS) == set(RULE_MARKS) == set(Verdict)
    assert len({mark.glyph for mark in MARKS.values()}) == len({mark.word for mark in MARKS.values()}) == len(Verdict)


def test_every_metric_has_a_title() -> None:
    """A new metric cannot be forgotten here."""
    assert set(METRIC_TITLES) == set(Metric)


@given(st.text(max_size=200), st.text(max_size=200))
def test_slugs_are_safe_file_names_and_differ_where_texts_differ(first: str, second: str) -> None:
    """Kernel names become file names, and no two share a page."""
    for text in (first, second):
        assert set(slug(text)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
        assert len(slug(text)) < 100 and slug(text) not in ("", ".", "..")
    assert (slug(first) == slug(second)) == (first == second)


@given(st.floats(-0.5, 0.5), st.floats(0.0, 0.2), st.floats(0.0, 0.05))
def test_strips_keep_the_order_of_low_value_and_high_and_stay_inside(change: float, half: float, noise: float) -> None:
    """A drawn interval never lies about sides."""
    interval = Interval(low=change - half, high=change + half)
    strip = change_axis([interval], noise).strip(change, interval, tone="", label="")
    assert 0 <= strip.low_x <= strip.value_x <= strip.high_x <= STRIP_WIDTH
    assert (strip.value_x >= strip.zero_x) == (change >= 0) or abs(change) < 1e-3


def test_a_steady_course_is_drawn_flat() -> None:
    """Noise of 0.1 % must not fill the height that a change of 10 % fills."""
    steady, moved = sparkline([1.0, 1.001, 1.0], ""), sparkline([1.0, 1.1, 1.0], "")
    assert steady is not None and moved is not None

    def height(points: str) -> float:
        places = [float(pair.split(",")[1]) for pair in points.split()]
        return max(places) - min(places)

    assert height(steady.points) < 1.0 < 10.0 < height(moved.points)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.05701, 0.0581, "57.01 to 58.10 ms"), (0.0009, 0.0011, "900.0 µs to 1.100 ms"), (0.0, 0.001, "0 s to 1.000 ms")],
)
def test_an_interval_names_its_unit_once_where_both_ends_share_it(low: float, high: float, text: str) -> None:
    """And twice where they do not."""
    assert span(Interval(low=low, high=high), units.seconds) == text


def test_elapsed_times_and_moments_are_for_people() -> None:
    """Times from foreign files that are no times stay as they are."""
    assert [elapsed(value) for value in (9.0, 192.0, 7260.0)] == ["9.000 s", "3 min 12 s", "2 h 1 min"]
    assert moment("2026-01-05T11:15:00+01:00") == "2026-01-05 10:15 UTC"
    assert moment("last Tuesday") == "last Tuesday"


def test_long_messages_are_cut_in_sentences() -> None:
    """Sentences and tables take one line."""
    assert first_line("one\ntwo") == "one"
    assert len(first_line("x" * 1000)) == 240 and first_line("x" * 1000).endswith("…")
    assert first_line("") == ""
