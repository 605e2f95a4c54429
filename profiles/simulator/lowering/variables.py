"""Where the variables and parameters of a kernel lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from profiles.simulator.lowering.registers import align
from profiles.simulator.ptx.syntax import Address, Instruction, Kernel, Module, Operand, Pair, Symbol, Variable, Vector

_DYNAMIC_ALIGNMENT = 16  # bytes; of the dynamic shared array if the kernel does not declare one
_ADDRESS_SPACES = ("global", "const")


@dataclass(frozen=True)
class Layout:
    """Variables that a kernel can reach.

    ``spaces`` holds the state space of every name; ``addresses`` the address in that space of shared, local and
    parameter ones. Shared ones lie in the order of their declaration, the dynamic array behind them.
    """

    spaces: dict[str, str]
    addresses: dict[str, int]
    static_shared_bytes: int
    dynamic_shared_alignment: int  # bytes
    local_bytes: int
    in_memory: tuple[Variable, ...]  # global and constant ones


def layout(module: Module, kernel: Kernel) -> Layout:
    """Place the kernel's own variables, those of the module that it names, and those that these point to."""
    used = _used_names(kernel.instructions)
    known = {variable.name: variable for variable in (*module.variables, *kernel.variables)}
    own = {variable.name for variable in kernel.variables}
    mine = [variable for name, variable in known.items() if name in used or name in own]
    shared, static_bytes, alignment = _place_shared([variable for variable in mine if variable.space == "shared"])
    local, local_bytes = _place([variable for variable in mine if variable.space == "local"])
    parameters = {parameter.name: parameter.offset for parameter in kernel.parameters}
    return Layout(
        spaces={name: variable.space for name, variable in known.items()} | dict.fromkeys(parameters, "param"),
        addresses=shared | local | parameters,
        static_shared_bytes=static_bytes,
        dynamic_shared_alignment=alignment,
        local_bytes=local_bytes,
        in_memory=_reachable([variable for variable in mine if variable.space in _ADDRESS_SPACES], known),
    )


def _place(variables: Iterable[Variable]) -> tuple[dict[str, int], int]:
    addresses = {}
    end = 0
    for variable in variables:
        addresses[variable.name] = align(end, variable.alignment)
        end = addresses[variable.name] + variable.size
    return addresses, end


def _place_shared(variables: list[Variable]) -> tuple[dict[str, int], int, int]:
    """Addresses, bytes of the static part, and alignment of the dynamic one; extern arrays all begin there."""
    addresses, end = _place(variable for variable in variables if variable.size)
    dynamic = [variable for variable in variables if not variable.size]
    alignment = max([variable.alignment for variable in dynamic], default=_DYNAMIC_ALIGNMENT)
    return addresses | {variable.name: align(end, alignment) for variable in dynamic}, end, alignment


def _reachable(variables: list[Variable], known: dict[str, Variable]) -> tuple[Variable, ...]:
    found = {variable.name: variable for variable in variables}
    waiting = list(variables)
    while waiting:
        for _, symbol in waiting.pop().relocations:
            target = known.get(symbol.name)
            if target is not None and target.space in _ADDRESS_SPACES and target.name not in found:
                found[target.name] = target
                waiting.append(target)
    return tuple(found.values())


def _used_names(instructions: Iterable[Instruction]) -> set[str]:
    return {
        symbol.name for instruction in instructions for operand in instruction.operands for symbol in _symbols(operand)
    }


def _symbols(operand: Operand) -> Iterator[Symbol]:
    match operand:
        case Symbol():
            yield operand
        case Address(base, _, coordinates):
            yield from _symbols(base)
            for coordinate in coordinates or ():
                yield from _symbols(coordinate)
        case Vector(elements):
            for element in elements:
                yield from _symbols(element)
        case Pair(first, second):
            yield from _symbols(first)
            yield from _symbols(second)
