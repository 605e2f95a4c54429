"""The objects of :mod:`perf.paired.model` as JSON and back, driven by the types of their fields.

A dataclass is an object, a tuple a list, an enum member its key (or its value, where it has no key), None is left out.
Reading checks every value against the field's type and names the place of the first that does not fit. A field that
has a default may be missing, so that a file stays readable when the model gains such a field. A mask stands as its
name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from perf.case import Case, Mask, parse_mask, upgraded_fields

Json = Any
Decoder = Callable[[Json], Any]


def encode(value: object) -> Json:
    """``value`` as what :func:`json.dumps` takes; samples are handed over as they are."""
    if isinstance(value, Enum):
        return _enum_key(value)
    if isinstance(value, Mask):
        return value.name
    if is_dataclass(value):
        contents = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: encode(content) for name, content in contents if content is not None}
    if isinstance(value, tuple):
        return value if value and isinstance(value[0], float) else [encode(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def decode(kind: Any, content: Json) -> Any:  # noqa: ANN401 - the type is an argument
    """``content`` as an object of the type ``kind``.

    Raises:
        ValueError: a value does not fit; the message starts with its place, as in ``cases[3].finding.verdict: ...``.
    """
    return _decoder(kind)(content)


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> Decoder:  # noqa: ANN401 - any type of the model
    if get_origin(kind) is UnionType:
        return _optional(kind)
    if get_origin(kind) is tuple:
        return _floats if get_args(kind)[0] is float else _tuple(_decoder(get_args(kind)[0]))
    if get_origin(kind) is Mapping:
        return _mapping
    if kind is Mask:
        return _mask
    if is_dataclass(kind):
        return _upgraded_case if kind is Case else _object(kind)
    return _enum(kind) if issubclass(kind, Enum) else _SCALARS[kind]


def _optional(kind: Any) -> Decoder:  # noqa: ANN401 - any type of the model
    (inner,) = (_decoder(one) for one in get_args(kind) if one is not NoneType)
    return lambda content: None if content is None else inner(content)


def _tuple(decode_item: Decoder) -> Decoder:
    def decode_list(content: Json) -> tuple[Any, ...]:
        _expect(content, list, "a list")
        return tuple(_placed(f"[{index}]", decode_item, item) for index, item in enumerate(content))

    return decode_list


def _object(kind: Any) -> Decoder:  # noqa: ANN401 - any dataclass of the model
    hints = get_type_hints(kind)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
    optional = {name for name, hint in hints.items() if NoneType in get_args(hint)}
    defaulted = {
        field.name for field in fields(kind) if field.default is not MISSING or field.default_factory is not MISSING
    }
    required = decoders.keys() - optional - defaulted

    def decode_object(content: Json) -> Any:  # noqa: ANN401 - an object of that dataclass
        _expect(content, dict, "an object")
        if lacking := sorted(required - content.keys()):
            raise ValueError(f": lacks {', '.join(lacking)}")
        if unknown := sorted(content.keys() - decoders.keys()):
            raise ValueError(f": has the unknown key {unknown[0]!r}")
        found = {name: _placed(f".{name}", decoders[name], item) for name, item in content.items()}
        return kind(**{**dict.fromkeys(optional), **found})  # what is left out was None

    return decode_object


def _upgraded_case(content: Json) -> Case:
    _expect(content, dict, "an object")
    case: Case = _object(Case)(upgraded_fields(content))
    return case


def _mask(content: Json) -> Mask:
    _expect(content, str, "a string")
    return parse_mask(content)


def _enum(kind: type[Enum]) -> Decoder:
    members = {_enum_key(member): member for member in kind}

    def decode_member(content: Json) -> Enum:
        _expect(content, str, "a string")
        if content not in members:
            raise ValueError(f": got {content!r}, expected one of {', '.join(members)}")
        return members[content]

    return decode_member


def _enum_key(member: Enum) -> str:
    return str(getattr(member, "key", member.value))


def _floats(content: Json) -> tuple[float, ...]:
    """Many numbers at once, which is most of a file: one pass in C over their types."""
    _expect(content, list, "a list")
    if not set(map(type, content)) <= {float, int} or not all(map(math.isfinite, content)):
        raise ValueError(": expected numbers")
    return tuple(map(float, content))


def _float(content: Json) -> float:
    if type(content) not in (float, int) or not math.isfinite(content):
        raise ValueError(f": expected a number, got {content!r:.60}")
    return float(content)


def _mapping(content: Json) -> Mapping[str, str]:
    _expect(content, dict, "an object")
    for name, item in content.items():
        _placed(f".{name}", _SCALARS[str], item)
    return dict(content)


def _scalar(kind: type, name: str) -> Decoder:
    def decode_scalar(content: Json) -> Any:  # noqa: ANN401 - a value of that type
        _expect(content, kind, name)
        return content

    return decode_scalar


_SCALARS: Mapping[Any, Decoder] = {
    str: _scalar(str, "a string"),
    int: _scalar(int, "a whole number"),
    bool: _scalar(bool, "true or false"),
    float: _float,
}


def _expect(content: Json, kind: type, name: str) -> None:
    # Not isinstance, for which true is a whole number.
    if type(content) is not kind:
        raise ValueError(f": expected {name}, got {content!r:.60}")


def _placed(place: str, decode_item: Decoder, content: Json) -> Any:  # noqa: ANN401 - what the decoder gives
    try:
        return decode_item(content)
    except (ValueError, OverflowError) as error:
        text = str(error)
        raise ValueError(place + (text if text[:1] in ".[:" else f": {text}")) from None
