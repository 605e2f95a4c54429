"""Reads PTX modules."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from profiles.simulator.ptx import declarations
from profiles.simulator.ptx.errors import Malformed, PtxError
from profiles.simulator.ptx.frames import Frame
from profiles.simulator.ptx.kernel_builder import KernelBuilder
from profiles.simulator.ptx.layout import Function, Layout, find_kernel, read_layout
from profiles.simulator.ptx.line_table import LineTable
from profiles.simulator.ptx.scopes import Scope
from profiles.simulator.ptx.syntax import Kernel, Module, Symbol, Variable


def parse_module(text: str, kernels: Collection[str] | None = None) -> Module:
    """Read a PTX module, with the bodies of the kernels that are named only, or of all for None.

    Functions that a kernel calls are inlined into it; recursion and calls through a register are errors. Raises
    PtxError, which names the line, for text that is no PTX or uses what is not supported, and for unknown kernels.
    """
    layout = read_layout(text)
    variables = _module_variables(layout)
    names = layout.kernels if kernels is None else [name for name in layout.kernels if name in kernels]
    for name in kernels or ():
        find_kernel(layout, name)
    scope = _module_scope(layout, variables)
    return Module(
        version=layout.version,
        target=layout.target,
        files=layout.files,
        variables=variables,
        kernels={name: _read_kernel(find_kernel(layout, name), layout, scope) for name in names},
    )


def _variables(line: int, text: str) -> list[Variable]:
    try:
        return list(declarations.variables(text.rstrip(";")))
    except Malformed as problem:
        raise PtxError(line, text, str(problem)) from None


def _module_variables(layout: Layout) -> tuple[Variable, ...]:
    """The variables by name; where one is declared ``.extern`` and defined as well, its definition."""
    found: dict[str, Variable] = {}
    for line, text in layout.variables:
        for variable in _variables(line, text):
            if variable.name not in found or not text.startswith(".extern"):
                found[variable.name] = variable
    return tuple(found.values())


def _module_scope(layout: Layout, variables: Iterable[Variable]) -> Scope:
    scope = Scope(None, "", layout.functions.keys())
    for variable in variables:
        scope.declare(variable.name, Symbol(variable.name))
    return scope


def _read_kernel(entry: Function, layout: Layout, module: Scope) -> Kernel:
    scope = Scope(module, "")
    try:
        parameters = declarations.parameters(entry.parameters)
        for parameter in parameters:
            scope.declare(parameter.name, Symbol(parameter.name))
        directives = declarations.directives(entry.directives)
    except Malformed as problem:
        raise PtxError(entry.line, f".entry {entry.name}", str(problem)) from None
    builder = KernelBuilder(layout.functions, LineTable(layout.files), parameters)
    builder.read_body(Frame(entry), scope)
    return builder.build(entry, directives)
