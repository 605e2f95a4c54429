"""Bare names, NVTX ranges and the text of rules, as ncu-report gives them."""

from __future__ import annotations

import pytest

from profiles.ncu.read_names import function_name, nvtx_ranges, range_name, without_links


@pytest.mark.parametrize(
    ("demangled", "function"),
    [
        ("VecAdd_kernel", "VecAdd_kernel"),
        ("init_data_kernel(int, double *)", "init_data_kernel"),
        ("void a::Kernel<a::b<(int)4, (bool)0>, c>(T1::Params)", "Kernel"),
        ("void at::native::<unnamed>::grid_kernel<float, f(x)::[lambda() (instance 1)]>(at::It &, T4)", "grid_kernel"),
        ("enable_if<!T7, void>::type kernel<int, float>(T13)", "kernel"),
        ("fmha(AttentionKernel<bfloat16_t, Sm80>::Params)", "fmha"),
        ("a_range/a_kernel(int)", "a_kernel"),
        ("", ""),
        ("(((", "((("),
    ],
)
def test_the_bare_name_is_what_stands_before_template_arguments_and_parameters(demangled: str, function: str) -> None:
    """The bare name is what stands before template arguments and parameters."""
    assert function_name(demangled) == function


def test_ranges_stand_from_the_outside_in() -> None:
    """Ranges stand from the outside in."""
    cell = (
        '12  "<default domain>:outer:none:none:RGB:0xff00ff00:ASCII:outer"  "mine:inner:none:none:none:none:none:none" '
    )
    assert nvtx_ranges(cell) == ("outer", "mine@inner")
    assert nvtx_ranges("") == ()


def test_a_range_may_have_colons_in_its_name() -> None:
    """A range may have colons in its name."""
    assert nvtx_ranges('1  "<default domain>:step: 3:none:none:none:none:ASCII:step: 3" ') == ("step: 3",)


def test_a_range_outside_the_default_domain_is_spelled_as_in_an_nvtx_filter() -> None:
    """A range outside the default domain is spelled as in an NVTX filter."""
    assert range_name("<default domain>", "x") == "x"
    assert range_name("roofgate", "x") == "roofgate@x"


def test_links_in_rules_become_what_ncu_prints() -> None:
    """Links in rules become what ncu prints."""
    message = "Look at @section:LaunchStats:Launch Statistics@. See the @url:Guide:https://docs.example/a.html#b@."
    assert without_links(message) == "Look at Launch Statistics. See the Guide (https://docs.example/a.html#b)."
