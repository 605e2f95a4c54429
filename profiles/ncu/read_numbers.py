"""Numbers as Nsight Compute prints them: in the grammar of the locale that it ran in, which no file names.

One report gives ``1345664`` and ``17.84`` under C, ``1,345,664`` and ``17.84`` under en_US, ``1.345.664`` and ``17,84``
under de_DE, ``1 345 664`` (with one of three spaces) and ``17,84`` under fr_FR. All numbers of a file follow one
grammar, so the file as a whole decides; where two grammars fit and give different values, the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kernels.errors import RoofgateError

_LOOKS_NUMERIC = re.compile("[+-]?[0-9][0-9.,'\u2019\u202f\u00a0 ]*(e[+-]?[0-9]+)?")
_REMEDY = "export it again with: LC_ALL=C ncu --import REPORT --csv --page raw --print-units base"


@dataclass(frozen=True, slots=True)
class NumberGrammar:
    """How one family of locales writes numbers: ``decimal`` point and the character between groups of three digits."""

    name: str
    decimal: str
    group: str
    pattern: re.Pattern[str]

    def parse(self, text: str) -> Decimal:
        """The exact value of ``text``, which :meth:`fits`."""
        digits = text.replace(self.group, "") if self.group else text
        return Decimal(digits.replace(self.decimal, "."))

    def fits(self, text: str) -> bool:
        """Whether ``text`` can have been written by this grammar."""
        return self.pattern.fullmatch(text) is not None


def _grammar(name: str, decimal: str, group: str) -> NumberGrammar:
    grouped = f"[1-9][0-9]{{0,2}}(?:{re.escape(group)}[0-9]{{3}})*|0" if group else "[0-9]+"
    pattern = re.compile(f"[+-]?(?:{grouped})(?:{re.escape(decimal)}[0-9]+)?(?:e[+-]?[0-9]{{1,3}})?")
    return NumberGrammar(name, decimal, group, pattern)


GRAMMARS = (
    _grammar("C", ".", ""),
    _grammar("en_US", ".", ","),
    _grammar("de_DE", ",", "."),
    _grammar("fr_FR with U+202F", ",", "\u202f"),
    _grammar("fr_FR with U+00A0", ",", "\u00a0"),
    _grammar("fr_FR with spaces", ",", " "),  # what ncu makes of the others
)


def looks_numeric(text: str) -> bool:
    """Whether ``text`` is a number in some locale, known here or not: ``1'345`` is, ``NVIDIA A10`` is not."""
    return _LOOKS_NUMERIC.fullmatch(text) is not None


def find_grammar(numbers: Iterable[str], path: str) -> NumberGrammar:
    """The grammar of all ``numbers`` of a file.

    Raises:
        RoofgateError: no grammar fits them all (the file is damaged, or of a locale that is not known), or several do
            and disagree on a value.
    """
    fitting: Sequence[NumberGrammar] = GRAMMARS
    witness = ""
    texts = dict.fromkeys(numbers)
    for text in texts:
        remaining = tuple(grammar for grammar in fitting if grammar.fits(text))
        if not remaining:
            beside = f" beside {witness!r}" if witness else ""
            raise RoofgateError(f"{path}: {text!r}{beside} is no number of a locale that is known here; {_REMEDY}")
        witness = text if len(remaining) < len(fitting) else witness
        fitting = remaining
    _require_agreement(fitting, texts, path)
    return fitting[0]


def _require_agreement(fitting: Sequence[NumberGrammar], texts: Iterable[str], path: str) -> None:
    for text in texts:
        values = {grammar.parse(text): grammar.name for grammar in fitting}
        if len(values) > 1:
            readings = " or ".join(f"{value} ({name})" for value, name in values.items())
            raise RoofgateError(f"{path}: {text!r} can be {readings} and no other number tells which; {_REMEDY}")
