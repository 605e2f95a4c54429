"""Names in Nsight Compute's exports: bare function names, NVTX ranges, links in the text of rules."""

from __future__ import annotations

import re

_OPENING = {"<": ">", "(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_OPENING.values())
_DOMAIN = "(?P<domain>[^:]*):"
_RANGES = (  # four fields of payload and color, then the type and the text of the message, which repeats the name
    re.compile(_DOMAIN + "(?P<name>.+):(?:[^:]*:){5}(?P=name)"),
    re.compile(_DOMAIN + "(?P<name>.*):(?:[^:]*:){5}[^:]*"),
)
_DEFAULT_DOMAIN = "<default domain>"
_SECTION_LINK = re.compile("@section:[^:@]*:([^@]*)@")
_WEB_LINK = re.compile("@url:([^:@]*):([^@]*)@")
_SOURCE_LINK = re.compile("@(?:source|sass):[^@]*:([^:@]*)@")


def function_name(demangled: str) -> str:
    """The bare name in a demangled kernel name: ``Kernel`` of ``void cutlass::Kernel<A, (int)4>(T1::Params)``."""
    outside = _outside_brackets(demangled)
    before_parameters = outside.partition("(")[0].rstrip()
    words = before_parameters.replace("<>", "").replace("[]", "").replace("{}", "").split(" ")
    return re.split("::|/", words[-1])[-1] or demangled  # "range/name" is what --print-nvtx-rename makes


def _outside_brackets(text: str) -> str:
    """``text`` with the inside of every bracket removed: ``void a::b<>()``."""
    kept: list[str] = []
    depth = 0
    for character in text:
        depth -= character in _CLOSING and depth > 0
        if depth == 0:
            kept.append(character)
        depth += character in _OPENING
    return "".join(kept)


def range_name(domain: str, name: str) -> str:
    """A range in ncu's own spelling: ``name``, or ``domain@name`` outside the default domain."""
    return name if domain in ("", _DEFAULT_DOMAIN) else f"{domain}@{name}"


def nvtx_ranges(cell: str) -> tuple[str, ...]:
    """The ranges in an NVTX cell of a CSV export, from the outside in; the cell holds a thread, then quoted ranges."""
    return tuple(_range_of(text) for text in re.findall('"([^"]*)"', cell))


def _range_of(text: str) -> str:
    """The range in ``domain:name:payload type:payload:color type:color:message type:message``; names hold colons."""
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _RANGES)), None)
    return range_name(match["domain"], match["name"]) if match else text


def without_links(message: str) -> str:
    """A rule's message as ncu prints it: ``@section:LaunchStats:Launch Statistics@`` is ``Launch Statistics``."""
    message = _SECTION_LINK.sub(r"\1", message)
    message = _WEB_LINK.sub(r"\1 (\2)", message)
    return _SOURCE_LINK.sub(r"\1", message)
