"""Runs come back as they were stored, and damaged files are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf.transformer.record import read_run, read_runs, transformer_folder, write_run
from tests.perf.transformer.invented_runs import invented_run


def test_a_run_comes_back(tmp_path: Path) -> None:
    """Every sample and loss; a second run of the setting takes the first one's place."""
    run = invented_run()
    path = write_run(tmp_path, run)

    assert replace(read_run(path), path="") == run
    assert write_run(tmp_path, run) == path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: run["phases"][0]["own"]["step_s"].clear(), "positive seconds"),
        (lambda run: run["phases"][0]["own"]["alone_s"].append(-1.0), "positive seconds"),
        (lambda run: run["phases"][0]["torch"]["spans"]["backward_s"].pop(), "forward and backward"),
        (lambda run: run["curves"][0]["own"]["losses"].pop(), "equally many losses"),
        (lambda run: run["curves"][0]["controls"].clear(), "at least one control"),
        (lambda run: run.pop("setting"), "lacks setting"),
    ],
)
def test_a_damaged_file_is_skipped_with_its_reason(tmp_path: Path, damage: object, message: str) -> None:
    """One bad file leaves the others readable."""
    workspace = Workspace(tmp_path)
    path = write_run(transformer_folder(workspace), invented_run())
    document = json.loads(path.read_text())
    damage(document["run"])  # type: ignore[operator]
    path.with_name("damaged.json").write_text(json.dumps(document))

    runs, problems = read_runs(workspace)

    assert len(runs) == 1
    assert [message in problem.reason for problem in problems] == [True]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """By name, rather than half understood."""
    path = write_run(tmp_path, invented_run())
    path.write_text(path.read_text().replace('"schema":1', '"schema":99'))

    with pytest.raises(RoofgateError, match="newer"):
        read_run(path)
