"""Two revisions in a process each: every side runs its own Python code, and what goes wrong there is told."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from perf.paired.model import Side
from perf.paired.process_sides import make
from perf.paired.sampling import Sides

CASE = {"dtype": "fp32", "batch": 1, "heads_q": 1, "heads_kv": 1, "seqlen_q": 8, "seqlen_k": 8, "head_dim": 16}


def write_checkout(root: Path, body: str) -> Path:
    """A revision whose op does what ``body`` says."""
    (root / "kernels").mkdir(parents=True)
    (root / "kernels" / "__init__.py").write_text("")
    ops = f"import time\n\n\ndef attention(q, k, v, *, causal):\n    {body}\n    return q\n"
    (root / "kernels" / "ops.py").write_text(ops)
    return root


def make_sides(base: Path, candidate: Path) -> Sides:
    """Both sides, started."""
    arguments = {
        "case": {**CASE, "mask": "full"},
        "device": "cpu",
        "threads": 1,
        "roots": {"base": str(base), "candidate": str(candidate)},
    }
    return make(arguments, {}, random.Random(0))  # noqa: S311


def test_each_side_runs_its_own_revisions_python_code(tmp_path: Path) -> None:
    """The candidate's op sleeps ten times as long, and its seconds for so many calls say so."""
    sides = make_sides(
        write_checkout(tmp_path / "base", "time.sleep(0.002)"),
        write_checkout(tmp_path / "candidate", "time.sleep(0.02)"),
    )

    seconds = {side: sides.samplers[side](5) for side in Side}

    assert seconds[Side.BASE] >= 5 * 0.002
    assert seconds[Side.CANDIDATE] >= 5 * 0.02
    assert seconds[Side.CANDIDATE] > 3 * seconds[Side.BASE]


def test_a_side_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    """A revision without the op, for example."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(RoofgateError, match=r"candidate: the measuring process ended: .*kernels"):
        make_sides(write_checkout(tmp_path / "base", "pass"), tmp_path / "empty")
