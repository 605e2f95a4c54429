"""The approximate functions are within PTX's bounds of the true values, and exact where PTX says what they give.

They are not the hardware's bits: PTX only bounds them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator.instruction_runs import Array, execute

NAN = 0x7FFFFFFF
TINY = np.finfo(np.float32).tiny
Function = Callable[[Array], Array]


def ulp(values: Array) -> Array:
    """Distance of the f32 numbers around each value; of the smallest normal numbers below those."""
    _, exponent = np.frexp(np.maximum(np.abs(values), 2.0**-126))
    return np.ldexp(1.0, exponent - 24)


def run(memory: DeviceMemory, opcode: str, a: Array) -> Array:
    """The results as f64."""
    (found,) = execute(memory, [f"{opcode} %d, %a;"], "float32", a=a.astype(np.float32))
    return found.astype(np.float64)


def spread(low: float, high: float, count: int = 4000) -> Array:
    """f32 numbers between the bounds, as f64: evenly, with some that differ in their last bits only."""
    values = np.linspace(low, high, count).astype(np.float32)
    return np.unique(np.concatenate([values, np.nextafter(values, np.float32(np.inf))])).astype(np.float64)


ACCURACY: dict[str, tuple[Function, Array, Function]] = {
    "ex2.approx.ftz.f32": (np.exp2, spread(-126, 127.99), lambda x: 2 * ulp(np.exp2(x))),
    "ex2.approx.f32": (np.exp2, spread(-149, -120), lambda x: 2 * np.maximum(ulp(np.exp2(x)), 2.0**-149)),
    "lg2.approx.f32": (np.log2, spread(0.5, 2), lambda x: np.full_like(x, 2.0**-22)),
    "lg2.approx.ftz.f32": (np.log2, spread(2, 1e30), lambda x: 2 * ulp(np.log2(x))),
    "sin.approx.f32": (np.sin, spread(-np.pi, np.pi), lambda x: np.full_like(x, 2.0**-20.5)),
    "cos.approx.ftz.f32": (np.cos, spread(-np.pi, np.pi), lambda x: np.full_like(x, 2.0**-20.5)),
    "tanh.approx.f32": (np.tanh, spread(-12, 12), lambda x: 2.0**-11 * np.abs(np.tanh(x))),
    "rsqrt.approx.f32": (lambda x: 1 / np.sqrt(x), spread(1e-3, 1e3), lambda x: 2.0**-22.9 / np.sqrt(x)),
    "rcp.approx.ftz.f32": (lambda x: 1 / x, spread(1, 2), lambda x: ulp(1 / x)),
    "sqrt.approx.f32": (np.sqrt, spread(1e-3, 1e3), lambda x: 2.0**-23 * np.sqrt(x)),
}


@pytest.mark.parametrize("opcode", ACCURACY)
def test_results_are_within_the_bounds_of_ptx(memory: DeviceMemory, opcode: str) -> None:
    """Against f64, over the range for which PTX bounds the error."""
    function, values, bound = ACCURACY[opcode]
    error = np.abs(run(memory, opcode, values) - function(values))
    worst = int(np.argmax(error / bound(values)))
    assert np.all(error <= bound(values)), (values[worst], error[worst])


SPECIAL = {
    "ex2.approx.f32": ([-np.inf, -0.0, 0.0, np.inf, np.nan, 1e-40, 128, -149, -151, 5],
                       [0, 1, 1, np.inf, np.nan, 1, np.inf, 2.0**-149, 0, 32]),
    "ex2.approx.ftz.f32": ([-np.inf, 0.0, np.inf, np.nan, -126, -126.5, -149], [0, 1, np.inf, np.nan, TINY, 0, 0]),
    "lg2.approx.f32": ([0.0, -0.0, 1, 8, np.inf, -1, -np.inf, np.nan, 2.0**-149, 2.0**-130],
                       [-np.inf, -np.inf, 0, 3, np.inf, np.nan, np.nan, np.nan, -149, -130]),
    "lg2.approx.ftz.f32": ([2.0**-149, -(2.0**-149), 2.0**-126], [-np.inf, -np.inf, -126]),
    "sin.approx.f32": ([0.0, -0.0, np.inf, -np.inf, np.nan], [0.0, -0.0, np.nan, np.nan, np.nan]),
    "cos.approx.f32": ([0.0, -0.0, np.inf, np.nan], [1, 1, np.nan, np.nan]),
    "tanh.approx.f32": ([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40], [0.0, -0.0, 1, -1, np.nan, 1e-40]),
    "rsqrt.approx.f32": ([0.0, -0.0, np.inf, -1, np.nan, 0.25], [np.inf, -np.inf, 0, np.nan, np.nan, 2]),
    "rsqrt.approx.ftz.f32": ([1e-40, -1e-40], [np.inf, -np.inf]),
    "rcp.approx.f32": ([0.0, -0.0, np.inf, -np.inf, np.nan, 4], [np.inf, -np.inf, 0.0, -0.0, np.nan, 0.25]),
    "rcp.approx.ftz.f32": ([1e-40, 2.0**127], [np.inf, 0]),
    "sqrt.approx.ftz.f32": ([-0.0, 1e-40, -1, np.inf], [-0.0, 0, np.nan, np.inf]),
}  # fmt: skip


@pytest.mark.parametrize("opcode", SPECIAL)
def test_special_values(memory: DeviceMemory, opcode: str) -> None:
    """The ISA's tables of zeros, infinities, NaN and subnormal numbers."""
    arguments, expected = (np.array(column) for column in SPECIAL[opcode])
    (found,) = execute(memory, [f"{opcode} %d, %a;"], "float32", a=arguments.astype(np.float32))
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])
    np.testing.assert_array_equal(found.view(np.uint32)[~known], NAN)


def test_approximate_division(memory: DeviceMemory) -> None:
    """2 ulp; a divisor beyond 2^126 gives zero, or NaN for an infinite dividend; .full has the whole range."""
    a = np.array([1, 7, -3, 1, np.inf, 2.0**127], np.float32)
    b = np.array([3, 0.5, 2.0**127, -(2.0**127), 2.0**127, 2.0**127], np.float32)
    approximate, full = execute(memory, ["div.approx.f32 %d, %a, %b;", "div.full.f32 %d, %a, %b;"], "float32", a=a, b=b)
    np.testing.assert_allclose(approximate[:2], [1 / 3, 14], rtol=2.0**-22)
    np.testing.assert_array_equal(approximate[2:], np.array([-0.0, -0.0, np.nan, 0], np.float32))
    np.testing.assert_array_equal(full[2:], a[2:] / b[2:])


def test_f64_approximations_use_the_upper_half(memory: DeviceMemory) -> None:
    """``rcp.approx.ftz.f64`` and rsqrt.approx.ftz.f64: the low 32 bits of operand and result are zero."""
    a = np.array([3.0, 0.1, 1e300, 7.5], np.float64)
    reciprocal, root = execute(memory, ["rcp.approx.ftz.f64 %d, %a;", "rsqrt.approx.ftz.f64 %d, %a;"], "float64", a=a)
    for found, exact in ((reciprocal, 1 / a), (root, 1 / np.sqrt(a))):
        np.testing.assert_allclose(found, exact, rtol=2.0**-19)
        assert not np.any(found.view(np.uint64) & 0xFFFFFFFF)
    (whole,) = execute(memory, ["rsqrt.approx.f64 %d, %a;"], "float64", a=a)
    np.testing.assert_allclose(whole, 1 / np.sqrt(a), rtol=1e-15)


@pytest.mark.parametrize(
    ("opcode", "function", "bound"),
    [("ex2.approx.f16", np.exp2, 2.0**-9.9), ("tanh.approx.f16", np.tanh, 2.0**-10.987)],
)
def test_f16_functions(memory: DeviceMemory, opcode: str, function: Function, bound: float) -> None:
    """Every f16 number whose result is a normal one, with PTX's bound plus half a step of the rounding."""
    a = np.arange(2**16, dtype=np.uint16).view(np.float16)
    (found,) = execute(memory, [f"{opcode} %d, %a;"], "float16", a=a)
    with np.errstate(all="ignore"):
        expected = function(a.astype(np.float64))
    usual = np.isfinite(a) & (np.abs(expected) >= 2.0**-14) & (np.abs(expected) < 65504)
    assert np.count_nonzero(usual) > 20_000
    np.testing.assert_allclose(found[usual].astype(np.float64), expected[usual], rtol=bound + 2.0**-11)
    assert np.all(np.isnan(found[np.isnan(a)]))
