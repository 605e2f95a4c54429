"""The offline check finds what a chip lacks, and a library that breaks is an error rather than our end.

A small library of the tests' own, compiled here, plays CUPTI; the real one is asked where it is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from kernels.toolchain import find_cxx
from profiles.ncu.metric_tiers import Source, Tier, TierMetric, load_tiers
from profiles.ncu.offline_check import (
    PACKAGE,
    CaptureCheck,
    Question,
    ask_cupti,
    check_tiers,
    find_cupti,
    is_checkable,
)

TIERS = load_tiers()
CHIPS = list(TIERS.chips.values())
# The six calls, with the structures as NVIDIA documents them. Every metric takes one pass; those named "none..." are
# unknown, and a host object that was asked for one refuses all others, as NVIDIA's does.
FAKE_CUPTI = r"""
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

static size_t added = 0;
static bool refused = false;
struct Initialize { size_t size; void* p; int type; const char* chip; const uint8_t* available; void* host; };
struct Deinitialize { size_t size; void* p; void* host; };
struct Add { size_t size; void* p; void* host; const char** names; size_t count; };
struct ImageSize { size_t size; void* p; void* host; size_t bytes; };
struct Image { size_t size; void* p; void* host; size_t bytes; uint8_t* image; };
struct Passes { size_t size; void* p; size_t bytes; uint8_t* image; size_t passes; };

extern "C" {
int cuptiProfilerHostInitialize(Initialize* in) {
  BEHAVIOUR
  if (in->size != sizeof(Initialize) || std::strncmp(in->chip, "G", 1)) return 46;
  added = 0;
  refused = false;
  in->host = &added;
  return 0;
}
int cuptiProfilerHostDeinitialize(Deinitialize* in) { return in->host == &added ? 0 : 1; }
int cuptiProfilerHostConfigAddMetrics(Add* in) {
  if (in->size != sizeof(Add)) return 2;
  for (size_t i = 0; i < in->count; ++i)
    if (!std::strncmp(in->names[i], "none", 4)) refused = true;
  if (refused) return 1;
  added = in->count;
  return 0;
}
int cuptiProfilerHostGetConfigImageSize(ImageSize* in) { in->bytes = 3; return in->size == sizeof(ImageSize) ? 0 : 2; }
int cuptiProfilerHostGetConfigImage(Image* in) {
  if (in->size != sizeof(Image) || in->bytes != 3) return 2;
  std::memset(in->image, 7, in->bytes);
  return 0;
}
int cuptiProfilerHostGetNumOfPasses(Passes* in) {
  if (in->size != offsetof(Passes, passes) + sizeof(size_t) || in->image[2] != 7) return 2;
  in->passes = added;
  return 0;
}
}
"""


def build(folder: Path, behaviour: str = "") -> Path:
    """Compile the played library into ``folder``, which is skipped where there is no compiler."""
    try:
        compiler = find_cxx()
    except RoofgateError as missing:
        pytest.skip(str(missing))
    source = folder / "cupti.cpp"
    source.write_text(FAKE_CUPTI.replace("BEHAVIOUR", behaviour))
    library = folder / "libcupti.so.13"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    shutil.copy(library, folder / "libnvperf_host.so")
    return folder


@pytest.fixture
def cupti() -> Path:
    """NVIDIA's library; skipped with the reason where it is not installed."""
    try:
        return find_cupti()
    except RoofgateError as missing:
        pytest.skip(str(missing))


def total_passes(checks: tuple[CaptureCheck, ...], tier: str, chip: str) -> int:
    """Of both captures of a tier."""
    return sum(check.answer.passes for check in checks if (check.tier.name, check.chip.name) == (tier, chip))


def test_every_tier_holds_on_every_chip(cupti: Path) -> None:  # noqa: ARG001
    """No metric is missing on GA102, AD102, GA100, GH100, GB100 or their smaller sisters; the gate is cheap."""
    checks = check_tiers(CHIPS, list(TIERS.tiers.values()))

    assert {check.chip.name for check in checks} >= {"GA102", "AD102", "GA100", "GH100", "GB100"}
    assert len(checks) == len(CHIPS) * len(TIERS.tiers) * len(Source)
    assert {f"{check.chip.name} {name}" for check in checks for name in check.answer.unknown} == set()
    assert total_passes(checks, "gate", "GH100") <= 4
    assert all(total_passes(checks, "gate", chip.name) < total_passes(checks, "full", chip.name) for chip in CHIPS)


def test_only_known_exceptions_escape_the_check(cupti: Path) -> None:
    """What is said to be Nsight Compute's own is unknown to CUPTI: a typing error cannot hide among it."""
    own = {metric.name for tier in TIERS.tiers.values() for metric in tier.metrics if not is_checkable(metric.name)}
    (answer,) = ask_cupti(cupti, [Question(chip="GH100", metrics=tuple(sorted(own)))])

    assert set(answer.unknown) == own
    assert answer.passes == 0


def test_a_wrong_name_or_roll_up_is_found(cupti: Path) -> None:
    """And the others are still counted."""
    metrics = ("smsp__inst_executed.sum", "smsp__inst_executed.median", "smsp__inst_exected.sum", "smsp__inst_executed")
    hopper_only = "sm__inst_executed_pipe_tensor_op_gmma.sum"
    questions = [
        Question(chip="GH100", metrics=(*metrics, hopper_only)),
        Question(chip="GA100", metrics=(hopper_only,)),
    ]
    hopper, ampere = ask_cupti(cupti, questions)

    assert hopper.unknown == metrics[1:]
    assert hopper.passes >= 1
    assert ampere.unknown == (hopper_only,)


def test_the_child_asks_each_metric_alone_and_counts_the_known_together(tmp_path: Path) -> None:
    """Through the six calls, with structures of the documented sizes."""
    questions = [
        Question(chip="GH100", metrics=("a.sum", "none.sum", "b.sum")),
        Question(chip="GA100", metrics=("none.sum",)),
        Question(chip="GA100", metrics=()),
    ]
    answers = ask_cupti(build(tmp_path), questions)

    assert [(answer.unknown, answer.passes) for answer in answers] == [(("none.sum",), 2), (("none.sum",), 0), ((), 0)]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("std::abort();", "crashed with SIGABRT; the versions that work are 13.0.85"),
        ("*(volatile int*)0 = 1;", "crashed with SIGSEGV"),
        ("return 999;", "failed: .*cuptiProfilerHostInitialize returned error 999"),
        ('if (write(1, "hello", 5)) {}', "answered 'hello.*expected JSON"),
    ],
)
def test_a_library_that_breaks_is_an_error(tmp_path: Path, behaviour: str, message: str) -> None:
    """Whatever it does to the child."""
    with pytest.raises(RoofgateError, match=message):
        ask_cupti(build(tmp_path, behaviour), [Question(chip="GH100", metrics=("a.sum",))])


def test_a_library_that_hangs_is_an_error(tmp_path: Path) -> None:
    """After the time that is given to it."""
    with pytest.raises(RoofgateError, match="did not answer within 1 s"):
        ask_cupti(build(tmp_path, "sleep(30);"), [Question(chip="GH100", metrics=("a.sum",))], timeout_s=1.0)


def test_a_chip_that_the_library_does_not_know_is_an_error(tmp_path: Path) -> None:
    """Rather than a chip without metrics."""
    with pytest.raises(RoofgateError, match="error 46"):
        ask_cupti(build(tmp_path), [Question(chip="XX100", metrics=("a.sum",))])


def test_missing_libraries_are_an_error(tmp_path: Path) -> None:
    """A folder without them."""
    with pytest.raises(RoofgateError, match=r"failed: OSError.*libnvperf_host\.so"):
        ask_cupti(tmp_path, [])


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, version: str) -> None:
    """Put a package with the name of CUPTI's at the front of this Python's path."""
    record = folder / f"nvidia_cuda_cupti-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n")
    (record / "RECORD").write_text("nvidia/lib/libcupti.so.13,,\n")
    monkeypatch.syspath_prepend(str(folder))


def test_the_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own list of files, wherever they lie."""
    install(monkeypatch, tmp_path, "13.0.85")

    assert find_cupti() == tmp_path / "nvidia" / "lib"


def test_versions_that_crash_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they can, with the version that works."""
    install(monkeypatch, tmp_path, "13.2.75")
    with pytest.raises(RoofgateError, match=r"is 13\.2\.75, expected 13\.0\.85 .*pip install nvidia-cuda-cupti==13\.0"):
        find_cupti()


def test_a_missing_package_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned version."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(RoofgateError, match=r"not in this Python.*pip install nvidia-cuda-cupti==13\.0\.85"):
        find_cupti()


def test_a_check_counts_what_was_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nsight Compute's own metrics are not asked, and not called right either."""
    metrics = tuple(
        TierMetric(name=name, purpose="p", source=source, architectures=frozenset(), since=(2022, 4, 0))
        for name, source in (
            ("launch__grid_size", Source.COUNTERS),
            ("a.sum", Source.COUNTERS),
            ("none.sum", Source.COUNTERS),
            ("sass__inst_executed_per_opcode", Source.SASS),
        )
    )
    tier = Tier(name="t", purpose="p", metrics=metrics, sections={Source.COUNTERS: ("X",), Source.SASS: ()})
    folder = build(tmp_path)
    monkeypatch.setattr("profiles.ncu.offline_check.find_cupti", lambda: folder)
    counters, sass = check_tiers([TIERS.chip("GH100")], [tier])

    assert (counters.metrics, counters.unchecked, counters.sections) == (3, ("launch__grid_size",), ("X",))
    assert (counters.answer.unknown, counters.answer.passes, counters.holds) == (("none.sum",), 1, False)
    assert (sass.metrics, sass.unchecked, sass.answer.passes, sass.holds) == (1, (metrics[3].name,), 0, True)


@pytest.mark.parametrize(
    ("name", "checkable"),
    [
        ("smsp__inst_executed.sum", True),
        ("smsp__sass_inst_executed_op_local.sum", True),
        ("sm__warps_active.avg.pct_of_peak_sustained_active", True),
        ("launch__registers_per_thread", False),
        ("sass__inst_executed_per_opcode", False),
        ("inst_executed", False),
        ("memory_l1_wavefronts_shared", False),
        ("sm__maximum_warps_per_active_cycle_pct", False),
        ("smsp__pcsamp_sample_count", False),
    ],
)
def test_which_names_are_nsight_computes_own(name: str, checkable: bool) -> None:
    """By what its documentation says of each prefix."""
    assert is_checkable(name) is checkable
