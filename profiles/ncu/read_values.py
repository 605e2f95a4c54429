"""What one file says of one metric -> a Counter, or the reason why there is none. Nothing missing becomes a number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from profiles.ncu.exactness import classify
from profiles.ncu.model import Counter
from profiles.ncu.read_numbers import NumberGrammar, looks_numeric
from profiles.ncu.read_units import Unit

_MISSING = frozenset({"", "n/a", "no data", "nan", "-nan", "inf", "-inf", "+inf"})
_WITH_INSTANCES = re.compile(r"(?P<total>[^ ()]*(?: [0-9]{3})*) \((?P<parts>.*)\)", re.DOTALL)
_DISAGREES = "two different values"


@dataclass(slots=True)
class Metrics:
    """The metrics of one launch, as they are read."""

    counters: dict[str, Counter] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add_text(self, name: str, text: str, unit: Unit, grammar: NumberGrammar) -> None:
        """A cell of a CSV export: a number in ``grammar``, a word, or a mark that says that there is no value."""
        text = value_text(text)
        if looks_numeric(text):
            self._add_decimal(name, text, unit, grammar)
        else:
            self.add_word(name, text)

    def add_number(self, name: str, value: float, unit: Unit, instances: Mapping[str, float]) -> None:
        """A number of a report file."""
        converted = unit.convert(value) if math.isfinite(value) else value
        if not math.isfinite(converted):
            self.add_missing(name, str(value))
        elif isinstance(value, int) and int(converted) != value and unit.exponent == 0:
            self.add_word(name, str(value))  # an identifier or an address
        else:
            finite = {part: number for part, number in instances.items() if math.isfinite(number)}
            self._add(Counter(name, float(converted), unit.name, classify(name), finite))

    def add_word(self, name: str, text: str) -> None:
        """A string of a report file, or a cell that is no number."""
        if text.lower() in _MISSING:
            self.add_missing(name, text)
        else:
            self._add(Counter(name=name, value=text, unit="", exactness=classify(name)))

    def add_missing(self, name: str, reason: str) -> None:
        """A metric that has no value, and the file's word for that."""
        known = self.counters.pop(name, None)
        self.missing[name] = reason if known is None else _DISAGREES

    def _add_decimal(self, name: str, text: str, unit: Unit, grammar: NumberGrammar) -> None:
        number = grammar.parse(text)
        value = unit.convert_decimal(number)
        if not math.isfinite(value):
            self.add_missing(name, text)
        elif _loses_digits(number, value, unit):
            self.add_word(name, str(number))
        else:
            self._add(Counter(name, value, unit.name, classify(name)))

    def _add(self, counter: Counter) -> None:
        known = self.counters.get(counter.name)
        if known is None and counter.name not in self.missing:
            self.counters[counter.name] = counter
        elif known is None or (known.value, known.unit) != (counter.value, counter.unit):
            self.add_missing(counter.name, _DISAGREES)


def value_text(cell: str) -> str:
    """The value in a cell: without the parts that ``--print-metric-instances`` puts behind it, ``total (a; b; c)``."""
    match = _WITH_INSTANCES.fullmatch(cell)
    return match["total"] if match and (looks_numeric(match["total"]) or not match["total"]) else cell


def _loses_digits(number: Decimal, value: float, unit: Unit) -> bool:
    """Whether an integer is too long for a float: an address or an identifier, whose every digit counts."""
    return unit.exponent == 0 == number.as_tuple().exponent and Decimal(value) != number
