"""The gate's results as JUnit XML: one test case per rule result, and one per step of the pipeline."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from perf.findings import Assessment, GateVerdict, RuleResult
from perf.model import StepStatus, Verdict

# What XML 1.0 cannot carry, escaped or not: compilers colour their messages with such bytes.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(assessment: Assessment) -> str:
    """A breach is a failure, a failed step an error, and what could not be judged is skipped with its reason."""
    suites = ElementTree.Element("testsuites", name="roofgate")
    _add_suite(suites, "gate", [_rule_case(result) for result in assessment.gate.results])
    _add_suite(suites, "pipeline", [*map(_step_case, assessment.steps), *_verdict_case(assessment)])
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _add_suite(suites: ElementTree.Element, name: str, cases: list[ElementTree.Element]) -> None:
    suite = ElementTree.SubElement(suites, "testsuite", name=name, tests=str(len(cases)))
    for attribute, outcome in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(outcome) is not None for case in cases)))
    suite.extend(cases)


def _case(classname: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=_clean(classname), name=_clean(name))


def _outcome(case: ElementTree.Element, outcome: str, message: str) -> ElementTree.Element:
    first_line = next(iter(message.splitlines()), "")
    element = ElementTree.SubElement(case, outcome, message=_clean(first_line))
    element.text = _clean(message)
    return case


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _rule_case(result: RuleResult) -> ElementTree.Element:
    case = _case(f"{result.layer.value}.{result.metric.key}.{result.target}", f"{result.subject}: {result.rule}")
    if result.verdict is Verdict.REGRESSED:
        return _outcome(case, "failure", result.reason)
    if result.verdict in (Verdict.NOT_RUN, Verdict.INCONCLUSIVE):
        return _outcome(case, "skipped", f"{result.verdict.value}: {result.reason}")
    return case


def _step_case(step: StepStatus) -> ElementTree.Element:
    case = _case("step", step.step)
    case.set("time", f"{step.wall_s:.3f}")
    if step.error or step.exit_code >= 2:
        return _outcome(case, "error", step.error or f"exit code {step.exit_code}")
    return case


def _verdict_case(assessment: Assessment) -> list[ElementTree.Element]:
    """The gate's conclusion where no rule's result says it: an error, or nothing to judge."""
    outcome = {GateVerdict.ERROR: "error", GateVerdict.NO_VERDICT: "skipped"}.get(assessment.gate.verdict)
    return [_outcome(_case("gate", "verdict"), outcome, assessment.gate.reason)] if outcome else []
