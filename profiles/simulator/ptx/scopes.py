"""Names of a PTX function: what they stand for in each block, and how inner ones are renamed apart."""

from __future__ import annotations

from collections.abc import Set

from profiles.simulator.ptx.errors import Malformed
from profiles.simulator.ptx.operands import parse_operand
from profiles.simulator.ptx.syntax import Operand, Register, SpecialRegister, Symbol

Named = Register | Symbol

_VECTORS = ("tid", "ntid", "ctaid", "nctaid", "clusterid", "nclusterid", "cluster_ctaid", "cluster_nctaid")
# PTX ISA, "Special Registers"; a name that is neither declared nor here is a mistake.
SPECIAL_REGISTERS = frozenset(
    "%" + name
    for name in (
        *(f"{vector}.{axis}" for vector in _VECTORS for axis in "xyz"),
        *(f"lanemask_{order}" for order in ("eq", "le", "lt", "ge", "gt")),
        *(f"envreg{index}" for index in range(32)),
        *(f"pm{index}{width}" for index in range(8) for width in ("", "_64")),
        *(f"reserved_smem_offset_{part}" for part in ("begin", "end", "cap", "0", "1")),
        *("laneid", "warpid", "nwarpid", "smid", "nsmid", "gridid"),
        *("cluster_ctarank", "cluster_nctarank", "is_explicit_cluster", "current_graph_exec"),
        *("clock", "clock_hi", "clock64", "globaltimer", "globaltimer_lo", "globaltimer_hi"),
        *("total_smem_size", "aggr_smem_size", "dynamic_smem_size"),
    )
)


class Scope:
    """The names of one block. ``suffix`` makes the names that are declared in it unique in the kernel."""

    def __init__(self, parent: Scope | None, suffix: str, functions: Set[str] = frozenset()) -> None:
        self.parent = parent
        self.suffix = suffix
        self._functions: Set[str] = parent._functions if parent else functions
        self._names: dict[str, Named] = {}
        self._operands: dict[str, Operand] = {}  # many instructions share operands; each is read once

    def declare(self, name: str, meaning: Named) -> None:
        """Give a name a meaning in this block. Raises Malformed if it has one here."""
        if name in self._names:
            raise Malformed(f"expected a new name: `{name}` is declared in this block already")
        if not self.suffix and self.parent is not None and name in self.parent._names:
            raise Malformed(f"expected a name of its own in the kernel: the module has a variable `{name}`")
        self._names[name] = meaning

    def unique(self, name: str) -> str:
        """The name under which the kernel as a whole knows a name of this block."""
        return name + self.suffix

    def resolve(self, name: str) -> Named | SpecialRegister:
        """What a name stands for here. Raises Malformed for an unknown one."""
        scope: Scope | None = self
        while scope is not None:
            if (found := scope._names.get(name)) is not None:
                return found
            scope = scope.parent
        if name in SPECIAL_REGISTERS:
            return SpecialRegister(name)
        if name in self._functions:
            raise Malformed(f"the address of the function `{name}` is taken, and indirect calls are not supported")
        raise Malformed(f"expected a name that is declared: `{name}` is not")

    def register(self, name: str) -> Register:
        """The register of that name. Raises Malformed if it is none."""
        found = self.resolve(name)
        if not isinstance(found, Register):
            raise Malformed(f"expected a register in place of `{name}`")
        return found

    def operand(self, text: str) -> Operand:
        """An operand whose names are those of this block."""
        operand = self._operands.get(text)
        if operand is None:
            operand = self._operands[text] = parse_operand(text, self.resolve)
        return operand
