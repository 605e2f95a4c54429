"""Where the parts of a PTX module are: its header, variables and functions, found without reading their bodies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from profiles.simulator.ptx.errors import PtxError
from profiles.simulator.ptx.operands import NAME

_COMMENT = re.compile(r'//[^\n]*|/\*.*?(?:\*/|\Z)|"[^"\n]*"', re.DOTALL)
_STRING = r'"[^"\n]*"'
_DEEPEST = 16  # blocks within blocks


def _balanced(depth: int) -> str:
    """Text with balanced braces; possessive, so that one pass of the regular expression engine decides."""
    pattern = rf'(?:[^{{}}"]++|{_STRING})*+'
    for _ in range(depth):
        pattern = rf'(?:[^{{}}"]++|{_STRING}|\{{{pattern}\}})*+'
    return pattern


_FUNCTION = (
    r"(?P<linkage>(?:\.(?:visible|weak|extern)\s+)*)\.(?P<kind>entry|func)\b\s*"
    r"(?:\.(?:noreturn|attribute\([^()]*(?:\([^()]*\))?\))\s*)*"
    rf"(?:\((?P<returns>[^()]*)\)\s*)?(?P<name>{NAME})\s*(?:\((?P<parameters>[^()]*)\)\s*)?"
    r"(?P<directives>(?:\.pragma\s[^;{}]*;|[^{};])*+)(?:;|\{(?P<body>" + _balanced(_DEEPEST) + r")\})"
)
_ITEM = re.compile(
    rf"(?:(?P<function>{_FUNCTION})"
    r"|\.version\s+(?P<version>[0-9]+\.[0-9]+)"
    r"|\.target\s+(?P<target>\w+)(?:\s*,\s*\w+)*"
    r"|(?P<address_size>\.address_size\s+64\b)"
    rf"|\.file\s+(?P<file>[0-9]{{1,9}})\s+(?P<path>{_STRING})(?:\s*,\s*[0-9]+\s*,\s*[0-9]+)?"
    rf"|(?P<section>\.section\s+[\w.$]+(?:\s*,[^{{\n]*)?\s*\{{{_balanced(2)}\}})"
    r"|(?P<pragma>\.pragma\s[^;{}]*;)"
    rf"|(?P<variable>\.(?:visible|weak|extern|common|global|const|shared)\b(?:[^{{}};\"]++|\{{{_balanced(4)}\}})*+;))",
    re.ASCII,
)
_SPACE = re.compile(r"\s*+", re.ASCII)
_REFERENCE = re.compile(rf"(?<![\w$%.]){NAME}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Function:
    """An ``.entry`` or ``.func`` as text. ``body`` is None for a function that is only declared."""

    name: str
    is_entry: bool
    line: int
    returns: str
    parameters: str
    directives: str
    body: str | None
    body_line: int  # of the text's first character
    text: str  # all of it


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a module. Texts are without comments; lines are those of the module."""

    version: str
    target: str
    files: dict[int, str]
    variables: tuple[tuple[int, str], ...]  # line, text
    functions: dict[str, Function]

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the entries, in the order of the text."""
        return tuple(name for name, function in self.functions.items() if function.is_entry)


@lru_cache(maxsize=4)
def read_layout(text: str) -> Layout:
    """Find the parts of a module. Raises PtxError at text that is none, and without ``.version`` or ``.target``."""
    parts = _Parts()
    text = _without_comments(text)
    position, line = 0, 1
    while (start := _SPACE.match(text, position).end()) < len(text):  # type: ignore[union-attr] # matches always
        line += text.count("\n", position, start)
        match = _ITEM.match(text, start)
        if match is None:
            raise PtxError(line, text[start : start + 200].partition("\n")[0], "expected a directive of a PTX module")
        parts.add(match, line)
        position = match.end()
        line += text.count("\n", start, position)
    return parts.layout()


def _without_comments(text: str) -> str:
    """The text with comments gone and its lines where they were."""
    return _COMMENT.sub(_comment_remains, text)


def _comment_remains(match: re.Match[str]) -> str:
    text = match[0]
    if text[0] == '"':
        return text
    return "" if text[1] == "/" else " " + "\n" * text.count("\n")


class _Parts:
    """Gathers what the module's directives say."""

    def __init__(self) -> None:
        self._header = {"version": "", "target": ""}
        self._files: dict[int, str] = {}
        self._variables: list[tuple[int, str]] = []
        self._functions: dict[str, Function] = {}

    def add(self, match: re.Match[str], line: int) -> None:
        """Take one directive."""
        if match["function"]:
            self._add_function(match, line)
        elif match["variable"]:
            self._variables.append((line, match["variable"]))
        elif match["file"]:
            self._files[int(match["file"])] = match["path"][1:-1]
        elif match["version"] or match["target"]:
            self._header.update({key: match[key] for key in ("version", "target") if match[key]})

    def _add_function(self, match: re.Match[str], line: int) -> None:
        body = match["body"]
        body_line = line if body is None else line + match.string.count("\n", match.start(), match.start("body"))
        function = Function(
            name=match["name"],
            is_entry=match["kind"] == "entry",
            line=line,
            returns=match["returns"] or "",
            parameters=match["parameters"] or "",
            directives=match["directives"],
            body=body,
            body_line=body_line,
            text=match["function"],
        )
        known = self._functions.get(function.name)
        if known is not None and known.body is not None and body is not None:
            raise PtxError(line, function.name, f"expected one definition; the first is at line {known.line}")
        if known is None or known.body is None:
            self._functions[function.name] = function

    def layout(self) -> Layout:
        """All of it."""
        for directive, value in self._header.items():
            if not value:
                raise PtxError(1, "", f"expected a PTX module with a .{directive} directive")
        return Layout(**self._header, files=self._files, variables=tuple(self._variables), functions=self._functions)


def kernel_names(text: str) -> tuple[str, ...]:
    """Names of the kernels (entries) of a PTX module, in the order of the text."""
    return read_layout(text).kernels


def kernel_text(text: str, name: str) -> str:
    """The text that decides what a kernel is: header, line table's files, variables, its entry, functions it names.

    Without comments, and independent of the other kernels of the module. Raises PtxError if there is no such kernel.
    """
    layout = read_layout(text)
    header = [f".version {layout.version}", f".target {layout.target}", ".address_size 64"]
    files = [f'.file {index} "{path}"' for index, path in sorted(layout.files.items())]
    variables = [variable for _, variable in layout.variables]
    return "\n".join(header + files + variables + _reachable(layout, find_kernel(layout, name))) + "\n"


def find_kernel(layout: Layout, name: str) -> Function:
    """The entry of that name. Raises PtxError that lists the names there are."""
    function = layout.functions.get(name)
    if function is None or not function.is_entry or function.body is None:
        known = ", ".join(layout.kernels) or "none"
        raise PtxError(1, f".target {layout.target}", f"has no kernel `{name}`; its kernels: {known}")
    return function


def _reachable(layout: Layout, entry: Function) -> list[str]:
    """Texts of the functions that the entry calls, innermost first, and of the entry."""
    callees = {name for name, function in layout.functions.items() if not function.is_entry}
    found: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        function = waiting.pop()
        found[function.name] = None
        named = callees.intersection(_REFERENCE.findall(function.body or "")) if callees else ()
        waiting += [layout.functions[name] for name in sorted(named) if name not in found]
    return [layout.functions[name].text for name in reversed(found)]
