"""One restart from the parent's side: what is varied, what comes back, and how every kind of failure reads."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from kernels.errors import RoofgateError
from perf.paired import restarts
from perf.paired.model import Plan, Restart, Side, Stage
from perf.paired.restarts import RestartError, Subject, run_restart
from perf.paired.statistics import restart_mean

ROOT = Path(__file__).parents[3]
SHORT = Plan(restart_s=0.0)


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started where the packages are."""
    monkeypatch.chdir(ROOT)


def subject(behaviour: str, libraries: dict[Side, Path] | None = None, **arguments: Any) -> Subject:
    """The scripted sides."""
    return Subject(
        name="the case",
        factory="tests.perf.paired.scripted_sides",
        arguments={"behaviour": behaviour, **arguments},
        libraries=libraries or {},
    )


def measure(behaviour: str, seed: int = 7, plan: Plan = SHORT, **changes: Any) -> Restart:
    """One restart of the scripted sides."""
    return run_restart(subject(behaviour, **changes), plan, Stage.CONFIRMATION, seed, time.monotonic())


def test_a_restart_is_what_its_process_measured() -> None:
    """With the stage and seed that it was taken for, and blocks dated from the start of the comparison."""
    origin = time.monotonic() - 100.0
    restart = run_restart(subject("steady"), SHORT, Stage.CONFIRMATION, 7, origin)

    assert (restart.stage, restart.seed, restart.dropped) == (Stage.CONFIRMATION, 7, 0)
    assert restart_mean(restart) == pytest.approx(math.log(1.1))
    assert 0 < restart.wall_s < 60
    starts = [block.started_s for block in restart.blocks]
    assert starts == sorted(starts)
    assert 100.0 <= starts[0] <= 100.0 + restart.wall_s
    assert restart.setting == {"clock": "told"}


def test_conditions_come_back_as_the_model_has_them() -> None:
    """A tuple of reasons stays one, so that a restart in hand equals the one read from a file."""
    restart = measure("throttled", plan=Plan(restart_s=0.05))
    gpus = [block.conditions.gpu for block in restart.blocks]

    assert restart.dropped == 1
    assert all(gpu is not None and (gpu.sm_clock_hz, gpu.throttle_reasons) == (1.5e9, ()) for gpu in gpus)
    assert {block.conditions.load_average for block in restart.blocks} == {0.5}


def seen(restart: Restart) -> dict[str, Any]:
    """What the process said of itself."""
    found: dict[str, Any] = json.loads(restart.setting["seen"])
    return found


def test_each_restart_draws_its_accidents_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size of the environment, names of the library copies and the worker's draws follow from the seed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(restarts.tempfile, "tempdir", None)
    library = tmp_path / "library.so"
    library.write_text("code")
    libraries = dict.fromkeys(Side, library)
    first, again, other = (seen(measure("observed", seed, libraries=libraries)) for seed in (1, 1, 2))
    names = [[Path(path).name for path in each["libraries"].values()] for each in (first, again, other)]

    assert (first["padding"], first["draw"], names[0]) == (again["padding"], again["draw"], names[1])
    assert first["padding"] != other["padding"]
    assert first["draw"] != other["draw"]
    assert names[0] != names[2]
    assert 0 <= first["padding"] < 4096


def test_libraries_are_copies_of_their_own_and_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files with the same content even for one library twice; afterwards nothing is left but the original."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(restarts.tempfile, "tempdir", None)
    library = tmp_path / "library.so"
    library.write_text("code")
    found = seen(measure("observed", libraries=dict.fromkeys(Side, library)))

    assert found["contents"] == {"base": "code", "candidate": "code"}
    assert len({*found["libraries"].values(), str(library)}) == 3
    assert {Path(path).parent.parent for path in found["libraries"].values()} == {tmp_path}
    assert list(tmp_path.iterdir()) == [library]


def test_copies_are_removed_after_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in each of a hundred restarts must not fill the disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(restarts.tempfile, "tempdir", None)
    library = tmp_path / "library.so"
    library.write_text("code")
    with pytest.raises(RestartError):
        measure("killed", libraries=dict.fromkeys(Side, library))

    assert list(tmp_path.iterdir()) == [library]


@pytest.mark.parametrize(
    ("behaviour", "arguments", "words"),
    [
        ("refused", {}, "^head_dim is 7, expected a multiple of 8; choose another case$"),
        (
            "broken",
            {},
            "^the case: the measuring process ended with exit code 1; it said last: KeyError: 'no_such_field'$",
        ),
        ("killed", {}, "^the case: the measuring process was killed by signal 9; it said nothing$"),
        ("exits", {"code": 7}, "^the case: the measuring process ended with exit code 7; it said nothing$"),
        ("exits", {"code": 2}, "^the case: the measuring process ended with exit code 2; it said nothing$"),
        ("exits", {"code": 0}, "^the case: the measuring process answered '', expected a restart: "),
        ("stopped_clock", {}, "^the case: the measuring process took samples of 0 s or none; "),
        (
            "not_a_number",
            {},
            r"^the case: the measuring process answered .*, expected a restart: .measured_s: .* got nan",
        ),
        ("no_such_behaviour", {}, "it said last: KeyError: 'no_such_behaviour'$"),
    ],
)
def test_every_failure_says_what_happened(behaviour: str, arguments: dict[str, Any], words: str) -> None:
    """As one error that ends one case, never as a traceback."""
    with pytest.raises(RestartError, match=words):
        measure(behaviour, **arguments)


@pytest.mark.parametrize("answer", ["", "nonsense", "3", "[]", "null", "{}", '{"blocks": []}', '{"blocks": 3, "x": 1}'])
def test_an_answer_that_is_none_is_refused_with_its_beginning(answer: str) -> None:
    """Whatever it is."""
    known = {"stage": "screening", "seed": 1, "wall_s": 0.1}
    with pytest.raises(RestartError, match=re.escape(f"the case: the measuring process answered {answer!r}, expected")):
        restarts._read_answer("the case", answer, known)


def test_a_restart_without_blocks_is_refused() -> None:
    """Nothing measured is no measurement."""
    answer = {"iterations": 1, "measured_s": 0.1, "setting": {}, "dropped": 0, "blocks": []}
    with pytest.raises(RestartError, match="samples of 0 s or none"):
        restarts._read_answer("the case", json.dumps(answer), {"stage": "screening", "seed": 1, "wall_s": 0.1})


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the limit, whose length the message gives."""
    monkeypatch.setattr(restarts, "_TIMEOUT_S", 1)
    started = time.monotonic()
    with pytest.raises(RestartError, match=r"^the case: the measuring process did not end within 1 s and was killed$"):
        measure("hangs")

    assert time.monotonic() - started < 20


def test_a_library_that_is_gone_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A build folder may be emptied meanwhile; the message names the side and the file."""
    gone = tmp_path / "gone.so"
    with pytest.raises(RestartError, match=r"library of base cannot be copied .*gone\.so"):
        measure("steady", libraries=dict.fromkeys(Side, gone))


def test_a_restart_error_ends_a_case_and_not_the_program() -> None:
    """The engine catches the errors that a user can mend, of which it is one."""
    assert issubclass(RestartError, RoofgateError)
