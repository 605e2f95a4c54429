"""The text: the same for the same seed, and with the structure that it promises."""

from __future__ import annotations

import random

import pytest

from perf.transformer.text import agreement, brackets, make_text, repetition

PAIRS = {"(": ")", "[": "]", "{": "}"}
SINGULAR = {"cat", "dog", "bird", "child", "king"}


def seeded(seed: int) -> random.Random:
    """The source of one sentence."""
    return random.Random(seed)  # noqa: S311


def test_same_seed_same_text() -> None:
    """And another seed gives another one; a longer text begins as a shorter one."""
    assert make_text(1, 5000) == make_text(1, 5000)
    assert make_text(1, 5000) != make_text(2, 5000)
    assert make_text(1, 9000)[:5000] == make_text(1, 5000)
    assert len(make_text(1, 5000)) == 5000


@pytest.mark.parametrize("seed", range(50))
def test_brackets_close_innermost_first(seed: int) -> None:
    """Every bracket by its own kind."""
    waiting: list[str] = []
    for word in brackets(seeded(seed)).split():
        if word in PAIRS:
            waiting.append(PAIRS[word])
        elif word in PAIRS.values():
            assert waiting.pop() == word

    assert waiting == []


@pytest.mark.parametrize("seed", range(50))
def test_the_verb_agrees_with_the_first_noun(seed: int) -> None:
    """Across the clauses between them."""
    words = agreement(seeded(seed)).split()

    assert (words[1] in SINGULAR) == words[-2].endswith("s")


@pytest.mark.parametrize("seed", range(10))
def test_repetitions_repeat(seed: int) -> None:
    """Word by word."""
    before, after = repetition(seeded(seed)).split(" : ")

    assert before == after
