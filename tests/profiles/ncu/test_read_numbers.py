"""Numbers of an unknown locale are read right or refused, never read wrong."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.ncu.read_numbers import find_grammar, looks_numeric

MARKS = {"C": (".", ""), "en_US": (".", ","), "de_DE": (",", "."), "fr_FR": (",", "\u202f"), "spaces": (",", " ")}
numbers = st.tuples(st.integers(0, 10**15), st.sampled_from([None, "00", "5", "84", "125", "000000"]))


def printed(number: tuple[int, str | None], locale: str) -> str:
    """The number as ncu prints it."""
    whole, decimals = number
    decimal, group = MARKS[locale]
    return f"{whole:,}".replace(",", group) + (decimal + decimals if decimals is not None else "")


def true_value(number: tuple[int, str | None]) -> Decimal:
    """The number."""
    whole, decimals = number
    return Decimal(f"{whole}.{decimals or 0}")


@given(st.lists(numbers, min_size=1), st.sampled_from(sorted(MARKS)))
def test_the_values_are_the_true_ones_or_the_file_is_refused(values: list[tuple[int, str | None]], locale: str) -> None:
    """The values are the true ones or the file is refused."""
    texts = [printed(value, locale) for value in values]
    try:
        grammar = find_grammar(texts, "a.csv")
    except RoofgateError as refusal:
        assert "and no other number tells which" in str(refusal)
    else:
        assert [grammar.parse(text) for text in texts] == [true_value(value) for value in values]


@pytest.mark.parametrize("locale", sorted(MARKS))
def test_a_number_of_two_decimals_and_a_large_one_decide(locale: str) -> None:
    """A number of two decimals and a large one decide."""
    texts = [printed(value, locale) for value in ((1345664, None), (17, "84"), (1345, None))]
    grammar = find_grammar(texts, "a.csv")
    assert [grammar.parse(text) for text in texts] == [Decimal(1345664), Decimal("17.84"), Decimal(1345)]


@pytest.mark.parametrize("text", ["1.345", "1,345", "12.000"])
def test_a_number_that_two_locales_read_differently_is_refused_where_nothing_else_decides(text: str) -> None:
    """A number that two locales read differently is refused where nothing else decides."""
    with pytest.raises(RoofgateError, match=r"and no other number tells which.*LC_ALL=C"):
        find_grammar([text, "7"], "a.csv")


@pytest.mark.parametrize(
    "texts", [["1'345'664"], ["17.84", "17,84"], ["1,23,456"], ["1.2.3", "4"], ["12345", "1,234,567"]]
)
def test_numbers_of_an_unknown_or_a_mixed_locale_are_refused(texts: list[str]) -> None:
    """Numbers of an unknown or a mixed locale are refused."""
    with pytest.raises(RoofgateError, match="is no number of a locale that is known here"):
        find_grammar(texts, "a.csv")


def test_numbers_without_any_mark_need_no_locale() -> None:
    """Numbers without any mark need no locale."""
    assert find_grammar(["1", "20", "345"], "a.csv").parse("345") == 345
    assert find_grammar([], "a.csv").parse("-12") == -12


@pytest.mark.parametrize("text", ["NVIDIA A10", "", "n/a", "8.6 GHz", "(1, 2, 3)", "nan"])
def test_words_are_no_numbers(text: str) -> None:
    """Words are no numbers."""
    assert not looks_numeric(text)


def test_a_fraction_below_one_is_no_group_of_digits() -> None:
    """No locale writes a leading zero before a group."""
    assert find_grammar(["0.125"], "a.csv").parse("0.125") == Decimal("0.125")
    assert find_grammar(["0,125"], "a.csv").parse("0,125") == Decimal("0.125")
