"""Two host libraries as sides: the real one against itself, and against libraries that answer wrongly."""

from __future__ import annotations

import array
import json
import math
import mmap
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.errors import RoofgateError
from kernels.interface import AttentionProblem, Library
from kernels.library import host_library
from kernels.reference import attention, gradients
from perf.case import case_from_fields
from perf.case_inputs import make_inputs
from perf.model import Device, DType
from perf.paired import host_sides
from perf.paired.host_problem import DISTINCT_VALUES, Problem, address, buffer, normal_bytes
from perf.paired.model import Plan, Restart, Side, Stage
from perf.paired.restarts import RestartError, Subject, run_restart
from perf.paired.statistics import restart_mean

ROOT = Path(__file__).parents[3]
CASE = {
    "operation": "attention_fwd",
    "dtype": "fp32",
    "batch": 2,
    "heads_q": 4,
    "heads_kv": 2,
    "seqlen_q": 96,
    "seqlen_k": 160,
    "head_dim": 32,
    "mask": "causal",
}
SHORT = Plan(restart_s=0.05)


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started where the packages are."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def library() -> Library:
    """The host library, if this machine has built one."""
    try:
        return host_library()
    except RoofgateError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def wrong_libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Libraries that answer zero, NaN or nothing, or refuse; by the macro that makes them so."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("wrong")
    source = Path(__file__).with_name("wrong_library.cpp")
    include = f"-I{ROOT / 'kernels' / 'csrc'}"
    paths = {name: folder / f"{name}.so" for name in ("ANSWERS_ZERO", "ANSWERS_NAN", "ANSWERS_NOTHING", "REFUSES")}
    for name, path in paths.items():
        subprocess.run([compiler, "-shared", "-fPIC", include, f"-D{name}", str(source), "-o", str(path)], check=True)
    return paths


def measure(
    base: Path, candidate: Path, factory: str = "perf.paired.host_sides", threads: int = 2, **changes: Any
) -> Restart:
    """One restart of these two libraries in a process of its own, for it binds its threads."""
    arguments = {"case": CASE | changes, "threads": threads, "behaviour": "host_threads"}
    libraries = {Side.BASE: base, Side.CANDIDATE: candidate}
    subject = Subject(name="the case", factory=factory, arguments=arguments, libraries=libraries)
    return run_restart(subject, SHORT, Stage.SCREENING, 3, time.monotonic())


# Timing


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_one_library_against_itself_is_about_as_fast(library: Library, dtype: str, mask: str) -> None:
    """Sanity alone: 30 % is far beyond what identical code on one thread differs by, even on a busy machine."""
    restart = measure(library.path, library.path, threads=1, dtype=dtype, mask=mask)

    assert abs(restart_mean(restart)) < math.log(1.3)
    assert restart.setting["clock"] == "host, monotonic"
    assert restart.setting["threads"] == "1, unbound"


def test_threads_of_both_sides_are_bound_alike(library: Library) -> None:
    """Thread i of either side to the same processor, beside the main thread's; the steal time is that of them all."""
    found = json.loads(measure(library.path, library.path, "tests.perf.paired.scripted_sides").setting["seen"])

    assert len(found["workers"]) == 2  # one of each library beside the main thread
    assert found["workers"][0] == found["workers"][1]
    assert len(found["workers"][0]) == len(found["main"]) == 1
    if len(found["usable"]) > 1:
        assert found["workers"][0] != found["main"]
    assert found["probed"] == found["usable"]


# Answers


@pytest.mark.parametrize("name", ["ANSWERS_ZERO", "ANSWERS_NAN", "ANSWERS_NOTHING"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("wrong_side", list(Side))
def test_a_wrong_answer_is_not_timed(
    library: Library, wrong_libraries: dict[str, Path], name: str, dtype: str, wrong_side: Side
) -> None:
    """On either side, whichever runs first; not even an output left as it was found, with the other side's answer."""
    sides = {side: wrong_libraries[name] if side is wrong_side else library.path for side in Side}
    with pytest.raises(RestartError, match=r"answers of base and candidate differ by up to .*; not timed"):
        measure(sides[Side.BASE], sides[Side.CANDIDATE], dtype=dtype)


@pytest.mark.parametrize("name", ["ANSWERS_NAN", "ANSWERS_NOTHING"])
def test_nan_is_wrong_even_on_both_sides(wrong_libraries: dict[str, Path], name: str) -> None:
    """Equal is not right: normal inputs have no NaN among their answers."""
    with pytest.raises(RestartError, match="differ by up to nan"):
        measure(wrong_libraries[name], wrong_libraries[name])


def test_a_refusal_names_its_side(library: Library, wrong_libraries: dict[str, Path]) -> None:
    """With the library's own words."""
    with pytest.raises(RestartError, match=r"^candidate: roofgate_attention_fwd failed with status 10003: bad shape"):
        measure(library.path, wrong_libraries["REFUSES"])


def test_a_type_without_a_host_kernel_is_refused(library: Library) -> None:
    """The message gives those that have one."""
    with pytest.raises(RestartError, match=r"fp16 has no host kernel; expected bf16 or fp32"):
        measure(library.path, library.path, dtype="fp16")


def encoded(values: np.ndarray, dtype: DType) -> bytes:
    """As a kernel writes them."""
    bits = values.astype(np.float32).view(np.uint32)
    return bits.tobytes() if dtype is DType.FP32 else (bits >> 16).astype(np.uint16).tobytes()


@pytest.mark.parametrize("dtype", [DType.BF16, DType.FP32])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_an_error_in_any_column_is_seen(dtype: DType, head_dim: int) -> None:
    """Only some values are compared, of all columns: also where the output is a power of two of them."""
    right = np.random.default_rng(1).normal(size=(8192, head_dim))
    for column in range(head_dim):
        wrong = right.copy()
        wrong[:, column] += 0.5
        with pytest.raises(RoofgateError, match="not timed"):
            host_sides._check_outputs({Side.BASE: encoded(right, dtype), Side.CANDIDATE: encoded(wrong, dtype)}, dtype)


@pytest.mark.parametrize(("dtype", "rounding"), [(DType.BF16, 0.02), (DType.FP32, 1e-5)])
def test_rounding_is_no_wrong_answer(dtype: DType, rounding: float) -> None:
    """Another order of sums changes last digits."""
    generator = np.random.default_rng(2)
    one = generator.normal(size=5000)
    other = one + generator.uniform(-rounding, rounding, 5000)
    host_sides._check_outputs({Side.BASE: encoded(one, dtype), Side.CANDIDATE: encoded(other, dtype)}, dtype)


@pytest.mark.parametrize("dtype", [DType.BF16, DType.FP32])
@pytest.mark.parametrize("side", list(Side))
def test_one_nan_among_few_values_is_refused(dtype: DType, side: Side) -> None:
    """NaN compares as false with every tolerance."""
    values = np.linspace(-1, 1, 100)
    spoilt = values.copy()
    spoilt[41] = np.nan
    outputs = dict.fromkeys(Side, encoded(values, dtype)) | {side: encoded(spoilt, dtype)}
    with pytest.raises(RoofgateError, match="not timed"):
        host_sides._check_outputs(outputs, dtype)


# Problems and buffers


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4096, 5000])
def test_buffers_start_at_a_random_cache_line(size: int) -> None:
    """They have the size that was asked for, filled with the values over and over."""
    values = bytes(range(1, 101))
    memories = [buffer(size, values, random.Random(seed)) for seed in range(40)]  # noqa: S311
    expected = (values * (size // len(values) + 1))[:size]

    assert all(bytes(memory) == expected for memory in memories)
    if size:
        offsets = {address(memory) % mmap.PAGESIZE for memory in memories}
        assert all(offset % 64 == 0 for offset in offsets)
        assert len(offsets) > 10
    else:
        assert {address(memory) for memory in memories} == {0}


def problem(**changes: Any) -> Problem:
    """The buffers of the case."""
    return Problem(case_from_fields(CASE | changes), 2, random.Random(4))  # noqa: S311


def test_the_structure_describes_contiguous_tensors() -> None:
    """Strides in elements: batch, head, position."""
    params = problem().forward_params
    posed = params.problem

    assert list(posed.q_stride) == list(params.o_stride) == [4 * 96 * 32, 96 * 32, 32]
    assert list(posed.k_stride) == list(posed.v_stride) == [2 * 160 * 32, 160 * 32, 32]
    assert posed.scale == pytest.approx(32**-0.5)
    assert (posed.window_left, posed.window_right, posed.threads) == (-1, 0, 2)
    assert len({posed.q, posed.k, posed.v, params.o, params.lse}) == 5


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_inputs_are_normal_values(dtype: str) -> None:
    """In either type: mean 0, standard deviation 1, none of them NaN."""
    kind = DType.from_key(dtype)
    data = normal_bytes(kind, random.Random(5))  # noqa: S311
    values = np.array(host_sides._some_values(data, kind))

    assert len(data) == DISTINCT_VALUES * kind.size_bytes
    assert abs(values.mean()) < 0.1
    assert values.std() == pytest.approx(1.0, abs=0.05)


MASKS = ("full", "causal", "window20", "prefix70", "document40", "sparse50")


@pytest.mark.parametrize("operation", ["attention_fwd", "attention_bwd"])
@pytest.mark.parametrize(
    "changes",
    [*({"mask": mask} for mask in MASKS), {"varlen": True}, {"softcap": 2.0, "mask": "document40"}, {"alibi": True}],
    ids=str,
)
def test_the_answer_is_that_of_the_case(library: Library, operation: str, changes: dict[str, Any]) -> None:
    """What is timed is the problem that the case names, mask and all, held against the reference in float64."""
    import torch

    posed = problem(operation=operation, seqlen_q=160, **changes)
    posed.prepare(library)
    posed.call(library)
    options = make_inputs(posed.case, Device.CPU).options
    shape_q, shape_k = (
        tuple(tensor.shape) for tensor in (make_inputs(posed.case, Device.CPU).q, make_inputs(posed.case, Device.CPU).k)
    )
    values = np.array(array.array("f", normal_bytes(DType.FP32, random.Random(4))))  # noqa: S311
    q, k = (torch.tensor(np.resize(values, shape), dtype=torch.float64) for shape in (shape_q, shape_k))
    expected = attention(q, k, k, options)[:1]
    if operation == "attention_bwd":
        expected = gradients(q, k, k, q, options)
    for output, right in zip(posed.outputs, expected, strict=True):
        found = np.frombuffer(output, dtype=np.float32).reshape(right.shape)
        assert np.abs(found - right.numpy()).max() < 1e-4 * max(1.0, float(right.abs().max()))
        assert float(right.std()) > 0.1  # far from the tolerance, so that a wrong answer shows


def test_a_part_of_the_batch_is_the_same_problem() -> None:
    """And keeps the buffers alive, of which the structure has addresses alone."""
    whole = problem()
    part = whole.params_of_batch(1)
    equal = [name for name, *_ in AttentionProblem._fields_ if name not in ("batch", "plan") and "stride" not in name]

    assert part.problem.batch == 1
    assert part.o == whole.forward_params.o
    assert [getattr(part.problem, name) for name in equal] == [
        getattr(whole.forward_params.problem, name) for name in equal
    ]
    assert part.kept_alive is whole
