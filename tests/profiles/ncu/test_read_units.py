"""Units are brought to SI exactly: the float nearest to the decimal that the file holds."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.ncu.read_units import parse_unit


@pytest.mark.parametrize(
    ("spelled", "name", "exponent"),
    [
        ("", "", 0),
        ("%", "%", 0),
        ("byte", "B", 0),
        ("Kbyte", "B", 3),
        ("Mbyte", "B", 6),
        ("Gbyte/s", "B/s", 9),
        ("Tbyte/second", "B/s", 12),
        ("byte/block", "B", 0),
        ("Kbyte/block", "B", 3),
        ("byte/cycle", "B/cycle", 0),
        ("second", "s", 0),
        ("msecond", "s", -3),
        ("us", "s", -6),
        ("nsecond", "s", -9),
        ("hz", "Hz", 0),
        ("Ghz", "Hz", 9),
        ("cycle/second", "Hz", 0),
        ("cycle/nsecond", "Hz", 9),
        ("cycle/usecond", "Hz", 6),
        ("cycle", "cycle", 0),
        ("inst", "", 0),
        ("sectors", "", 0),
        ("SM", "", 0),
        ("register/thread", "", 0),
        ("inst/cycle", "1/cycle", 0),
        ("sector/nsecond", "1/s", 9),
        ("1/s", "1/s", 0),
    ],
)
def test_every_spelling_has_one_name(spelled: str, name: str, exponent: int) -> None:
    """Every spelling has one name."""
    unit = parse_unit(spelled)
    assert (unit.name, unit.exponent) == (name, exponent)


@pytest.mark.parametrize("spelled", ["furlong", "Kfurlong", "byte/furlong", "KiB", "Mwarp"])
def test_an_unknown_unit_keeps_its_name_and_its_values(spelled: str) -> None:
    """An unknown unit keeps its name and its values."""
    unit = parse_unit(spelled)
    assert (unit.name, unit.exponent) == (spelled, 0)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**12, places=6))
def test_a_printed_value_becomes_the_nearest_float(value: Decimal) -> None:
    """A printed value becomes the nearest float."""
    assert parse_unit("Mbyte").convert_decimal(value) == float(f"{value}e6")
    assert parse_unit("nsecond").convert_decimal(value) == float(f"{value}e-9")


@given(st.integers(0, 2**53))
def test_a_whole_number_of_nanoseconds_becomes_the_nearest_float(nanoseconds: int) -> None:
    """A whole number of nanoseconds becomes the nearest float."""
    assert parse_unit("ns").convert(float(nanoseconds)) == float(f"{nanoseconds}e-9")
