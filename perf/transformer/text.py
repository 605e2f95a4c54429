"""English-like text with long-range structure, made from a seed: what the model learns from.

Three kinds of sentences need more than the last few bytes to be predicted: the verb agrees in number with a subject
that relative clauses separate from it, every bracket is closed by its own kind, innermost first, and a list of invented
words is repeated after a colon. A model whose attention is wrong learns the letters and the words, and not these.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_NOUNS = (("cat", "cats"), ("dog", "dogs"), ("bird", "birds"), ("child", "children"), ("king", "kings"))
_VERBS = (("runs", "run"), ("sings", "sing"), ("waits", "wait"), ("falls", "fall"))
_RELATIONS = (("sees", "see"), ("knows", "know"), ("likes", "like"))
_PLACES = ("near the river", "in the old house", "on the hill", "behind the gate")
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))
_SYLLABLES = ("ka", "lo", "mi", "ru", "te", "so", "va", "ne")
_DEEPEST = 4


def make_text(seed: int, size: int) -> bytes:
    """``size`` bytes of ASCII, one sentence a line; the same for the same seed and size."""
    generator = random.Random(seed)  # noqa: S311 - a text, not a secret
    lines: list[str] = []
    length = 0
    while length < size:
        lines.append(generator.choice(_KINDS)(generator))
        length += len(lines[-1]) + 1
    return "\n".join([*lines, ""]).encode("ascii")[:size]


def agreement(generator: random.Random) -> str:
    """``the cats that the dog sees near the river run .``: the last word agrees with the first noun."""
    number = generator.randrange(2)
    clauses = [_clause(generator) for _ in range(generator.randrange(3))]
    words = ["the", generator.choice(_NOUNS)[number], *clauses, generator.choice(_VERBS)[number]]
    return f"{' '.join(words)} ."


def _clause(generator: random.Random) -> str:
    number = generator.randrange(2)
    subject, relation = generator.choice(_NOUNS)[number], generator.choice(_RELATIONS)[number]
    return f"that the {subject} {relation} {generator.choice(_PLACES)}"


def brackets(generator: random.Random) -> str:
    """``ka ( lo [ mi ] ru )``: nested up to four deep, each closed by its own kind."""
    words: list[str] = []
    waiting: list[str] = []
    for _ in range(generator.randint(4, 12)):
        if waiting and (len(waiting) == _DEEPEST or generator.random() < 0.4):
            words.append(waiting.pop())
        else:
            opening, closing = generator.choice(_BRACKETS)
            words += [opening, generator.choice(_SYLLABLES)]
            waiting.append(closing)
    return " ".join([*words, *reversed(waiting)])


def repetition(generator: random.Random) -> str:
    """``kalo temi : kalo temi``: what stands before the colon stands behind it too."""
    words = ["".join(generator.choices(_SYLLABLES, k=2)) for _ in range(generator.randint(2, 5))]
    return f"{' '.join(words)} : {' '.join(words)}"


_KINDS: tuple[Callable[[random.Random], str], ...] = (agreement, brackets, repetition)
