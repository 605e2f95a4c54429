"""JUnit XML: one test case per check, and every outcome where a CI system looks for it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from perf.findings import Assessment, GateResult, GateVerdict
from perf.model import Verdict
from reports.junit import junit_xml
from tests.builders import (
    COMPILER_ERROR,
    build_assessment,
    build_empty_assessment,
    build_failed_build_assessment,
    build_rule,
)


def suite_of(assessment: Assessment, name: str) -> ElementTree.Element:
    """One suite of the JUnit file, parsed."""
    root = ElementTree.fromstring(junit_xml(assessment))  # noqa: S314 - our own output
    suite = root.find(f"testsuite[@name='{name}']")
    assert suite is not None
    return suite


def test_there_is_one_test_case_per_check() -> None:
    """The suite's own count agrees."""
    assessment = build_assessment()
    gate = suite_of(assessment, "gate")
    assert len(gate.findall("testcase")) == len(assessment.gate.results) == int(gate.attrib["tests"])


def test_outcomes_are_counted_where_they_belong() -> None:
    """Breaches fail; what did not run or stayed inconclusive is skipped with its reason, never passed."""
    rules = tuple(build_rule(verdict=verdict, reason=f"because {verdict.value}") for verdict in Verdict)
    gate = GateResult(verdict=GateVerdict.REGRESSION, results=rules, reason="")
    suite = suite_of(build_assessment(gate=gate), "gate")
    assert (suite.attrib["failures"], suite.attrib["skipped"], suite.attrib["errors"]) == ("1", "2", "0")
    messages = {element.attrib["message"] for element in suite.iter("skipped")}
    assert messages == {"inconclusive: because inconclusive", "not_run: because not_run"}


def test_a_failed_build_is_an_error_with_the_compilers_words() -> None:
    """A step that failed is an error, not a failed check."""
    suite = suite_of(build_failed_build_assessment(), "pipeline")
    build = suite.find("testcase[@name='build']/error")
    assert build is not None and COMPILER_ERROR in str(build.text)


def test_no_verdict_shows_although_no_rule_was_judged() -> None:
    """An empty gate never looks like a passed one."""
    suite = suite_of(build_empty_assessment(), "pipeline")
    skipped = suite.find("testcase[@name='verdict']/skipped")
    assert skipped is not None and skipped.attrib["message"] == "nothing was measured for this commit"


def test_bytes_that_xml_cannot_carry_are_replaced() -> None:
    """Compilers colour their messages."""
    failed = build_failed_build_assessment()
    steps = tuple(replace(step, error="\x1b[31merror\x1b[0m <b>&\x00") for step in failed.steps)
    error = suite_of(replace(failed, steps=steps), "pipeline").find("testcase/error")
    assert (
        error is not None
        and error.text == "\N{REPLACEMENT CHARACTER}[31merror\N{REPLACEMENT CHARACTER}[0m <b>&\N{REPLACEMENT CHARACTER}"
    )
