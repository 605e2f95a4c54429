"""YAML files whose every mistake is reported with file, line, key, what was expected and what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from kernels.errors import RoofgateError

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with YAML 1.2's floats (``312e12``) and without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported; write it out", problem_mark=mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes what :class:`_Loader` would not read as a string."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )

_NEVER_FOLD = 10_000
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The plain content of one YAML file, and the line (from 1) of everything in it."""

    path: Path
    content: object
    lines: Mapping[Location, int]

    def innermost(self, location: Location) -> Location:
        """The longest beginning of ``location`` that the file really has."""
        while location and location not in self.lines:
            location = location[:-1]
        return location

    def place(self, location: Location) -> str:
        """``file:line: key.key[index]`` of the innermost thing at ``location``."""
        location, key = self.innermost(location), ""
        for part in location:
            key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
        return f"{self.path}:{self.lines[location]}" + (f": {key}" if key else "")


def read_document(path: Path) -> Document:
    """Read one YAML file.

    Raises :class:`RoofgateError` if it is missing, empty, no UTF-8 text, malformed, or has a key twice.
    """
    lines: dict[Location, int] = {}
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            raise RoofgateError(f"{path}: the file is empty; restore it from the repository or fill it in")
        return Document(path=path, content=_plain(loader, node, path, (), lines), lines=lines)
    except FileNotFoundError:
        raise RoofgateError(f"{path}: no such file; run from the root of the checkout, or restore the file") from None
    except IsADirectoryError:
        raise RoofgateError(f"{path}: is a folder, expected a YAML file") from None
    except UnicodeDecodeError as error:
        raise RoofgateError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        raise RoofgateError(f"{path}{_marked(error)}; correct the YAML there and run again") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RoofgateError(f"{path}: cannot be read as YAML ({error}); correct it and run again") from None


def _marked(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    return f"{line}: malformed YAML: {error.problem or error.context}"


def _plain(loader: _Loader, node: yaml.Node, path: Path, location: Location, lines: dict[Location, int]) -> object:
    """The Python value of ``node``; fills ``lines`` on the way down."""
    lines.setdefault(location, node.start_mark.line + 1)
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        raise yaml.MarkedYAMLError(problem=f"tag {node.tag!r} is not supported", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, path, (*location, i), lines) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    content: dict[str, object] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in content:
            first = lines[*location, key]
            raise RoofgateError(f"{path}:{line}: key {key!r} is already given on line {first}; keep one of them")
        lines[*location, key] = line
        content[key] = _plain(loader, value_node, path, (*location, key), lines)
    return content


def dump(content: Mapping[str, object]) -> str:
    """YAML that :func:`read_document` reads back: innermost mappings in one line each, keys in the order given."""
    text = yaml.dump(content, Dumper=_Dumper, default_flow_style=None, sort_keys=False, width=_NEVER_FOLD)
    return str(text)


class Schema(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _every_key_is_known(cls, content: object) -> object:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in content if isinstance(content, dict) else ():
            if key not in known:
                advice = one_of(key, known)
                raise PydanticCustomError("unknown_key", "unknown key, {advice}", {"key": key, "advice": advice})
        return content


def one_of(got: str, known: Iterable[str]) -> str:
    """``expected one of a, b; did you mean 'a'?``, the latter only if something known is close to ``got``."""
    choices = list(known)
    close = get_close_matches(got, choices, n=1)
    advice = f"; did you mean {close[0]!r}?" if close else ""
    return f"expected one of {', '.join(choices) or '(none is declared)'}{advice}"


SchemaT = TypeVar("SchemaT", bound=Schema)


def validate(document: Document, schema: type[SchemaT]) -> SchemaT:
    """Check ``document`` against ``schema``; raises :class:`RoofgateError` naming every mistake with its line."""
    try:
        return schema.model_validate(document.content)
    except ValidationError as error:
        mistakes = sorted({_mistake(document, details) for details in error.errors()})
        raise RoofgateError("\n".join(text for _, text in mistakes)) from None


def _mistake(document: Document, details: ErrorDetails) -> tuple[int, str]:
    location, kind = details["loc"], details["type"]
    if kind == "missing":
        message = f"key {location[-1]!r} is missing"
    elif kind == "unknown_key":
        location, message = (*location, details["ctx"]["key"]), details["msg"]
    elif kind == "value_error":
        message = details["msg"].removeprefix("Value error, ")
    else:
        expected = _EXPECTED.get(kind) or details["msg"].replace("Input should be", "expected")
        message = f"{expected}, got {details['input']!r:.80}"
    return document.lines[document.innermost(location)], f"{document.place(location)}: {message}"


# In the terms of the file rather than of Python.
_EXPECTED = {
    "model_type": "expected a mapping of keys to values",
    "dict_type": "expected a mapping of keys to values",
    "tuple_type": "expected a list",
}
