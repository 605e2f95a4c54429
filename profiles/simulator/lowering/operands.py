"""What the operands of a kernel's instructions are: the two contexts in which lowering functions run."""

from __future__ import annotations

from typing import NoReturn

from profiles.simulator.lowering.context import CARRY, LoweringError, slot_bytes
from profiles.simulator.lowering.control_flow import Access
from profiles.simulator.lowering.literals import literal_bits
from profiles.simulator.lowering.program import AddressConstant, Constant, LiteralConstant, SpecialConstant
from profiles.simulator.lowering.variables import Layout
from profiles.simulator.ptx.syntax import (
    Immediate,
    Kernel,
    Operand,
    Register,
    Sink,
    SpecialRegister,
    Symbol,
)

# As set_special_registers of the run-time knows them.
_COORDINATES = ("tid", "ntid", "ctaid", "nctaid", "clusterid", "nclusterid", "cluster_ctaid", "cluster_nctaid")
_SPECIAL_REGISTERS = {f"%{name}.{axis}" for name in _COORDINATES for axis in "xyz"} | {
    f"%lanemask_{relation}" for relation in ("eq", "lt", "le", "gt", "ge")
} | {
    "%laneid", "%warpid", "%nwarpid", "%cluster_ctarank", "%cluster_nctarank", "%is_explicit_cluster",
    "%dynamic_smem_size", "%total_smem_size",
}  # fmt: skip
_CONSTANT_BYTES = 8
_TEXT_SHOWN = 160  # characters of an instruction: enough to find it, and a message stays readable
_NO_TIME = {"%clock", "%clock_hi", "%clock64", "%globaltimer", "%globaltimer_lo", "%globaltimer_hi"}


class _Operands:
    """What both passes have in common. ``instruction`` is the present one."""

    def __init__(self, kernel: Kernel, layout: Layout) -> None:
        self._kernel = kernel
        self._layout = layout
        self._widths = {name: slot_bytes(type_name) for name, type_name in kernel.registers.items()}
        self._widths[CARRY.name] = slot_bytes("pred")
        self.instruction = kernel.instructions[0]

    def read(self, operand: Operand, type_name: str) -> int:
        if isinstance(operand, Register):
            return self._read_register(self._checked(operand, type_name))
        width = slot_bytes(type_name)
        if width > _CONSTANT_BYTES:
            self.fail(f"{_describe(operand)} as .{type_name}: constants have at most {8 * _CONSTANT_BYTES} bits")
        return self._read_constant(width, self._constant(operand, type_name))

    def write(self, operand: Operand, type_name: str) -> int:
        if isinstance(operand, Sink):
            return self._write_register(f"_ {slot_bytes(type_name)}")  # no register has such a name
        if not isinstance(operand, Register):
            self.fail(f"a destination must be a register, not {_describe(operand)}")
        return self._write_register(self._checked(operand, type_name))

    def update(self, operand: Operand, type_name: str) -> int:
        self.read(operand, type_name)
        return self.write(operand, type_name)

    def _read_register(self, name: str) -> int:
        raise NotImplementedError

    def _write_register(self, name: str) -> int:
        raise NotImplementedError

    def _read_constant(self, width: int, constant: Constant) -> int:
        raise NotImplementedError

    def register_type(self, register: Register) -> str:
        found = self._kernel.registers.get(register.name)
        if found is None:
            self.fail(f"the register {register.name} is not declared")
        return found

    def label(self, operand: Operand) -> int:
        if not isinstance(operand, Symbol) or operand.name not in self._kernel.labels:
            self.fail(f"{_describe(operand)} is no label of this kernel")
        return self._kernel.labels[operand.name]

    def branch_table(self, operand: Operand) -> tuple[int, ...]:
        if not isinstance(operand, Symbol) or operand.name not in self._kernel.branch_tables:
            self.fail(f"{_describe(operand)} is no .branchtargets table of this kernel")
        return tuple(self.label(Symbol(label)) for label in self._kernel.branch_tables[operand.name])

    def symbol_space(self, symbol: Symbol) -> str:
        space = self._layout.spaces.get(symbol.name)
        if space is None:
            self.fail(f"{symbol.name} is no variable or parameter that the kernel can reach")
        return space

    def symbol_address(self, symbol: Symbol) -> int:
        space = self.symbol_space(symbol)
        if symbol.name not in self._layout.addresses:
            self.fail(f"{symbol.name} lies in .{space} memory, where its address is known only when the kernel runs")
        return self._layout.addresses[symbol.name] + symbol.offset

    def fail(self, reason: str) -> NoReturn:
        instruction = self.instruction
        line = f" ({instruction.location.line})" if instruction.location else ""
        text = instruction.text if len(instruction.text) <= _TEXT_SHOWN else f"{instruction.text[:_TEXT_SHOWN]}..."
        raise LoweringError(
            f"{self._kernel.name}: PTX line {instruction.ptx_line}{line}: {text}\n"
            f"  {reason}\n"
            "  The simulator cannot run it; docs/simulator.md says how to add an instruction."
        )

    def _checked(self, register: Register, type_name: str) -> str:
        declared = self._widths.get(register.name)
        if declared != slot_bytes(type_name):
            self.fail(
                f"{register.name} is declared as .{self.register_type(register)} but used as .{type_name}, "
                "which has another size"
            )
        return register.name

    def _constant(self, operand: Operand, type_name: str) -> Constant:
        if isinstance(operand, SpecialRegister):
            return self._special(operand.name)
        if isinstance(operand, Symbol) and self.symbol_space(operand) in ("global", "const"):
            return AddressConstant(operand.name, operand.offset)
        if isinstance(operand, Symbol):
            return LiteralConstant(self.symbol_address(operand))
        if not isinstance(operand, Immediate):
            self.fail(f"{_describe(operand)} where a value is expected")
        try:
            return LiteralConstant(literal_bits(operand, type_name))
        except ValueError as error:
            self.fail(str(error))

    def _special(self, name: str) -> SpecialConstant:
        if name in _NO_TIME:
            self.fail(
                f"{name} is time, and the simulator has none: only mov of %clock and %clock64 is known, which count"
            )
        if name not in _SPECIAL_REGISTERS:
            self.fail(
                f"the special register {name} has no meaning here; known: {', '.join(sorted(_SPECIAL_REGISTERS))}"
            )
        return SpecialConstant(name.removeprefix("%"))


class AccessRecorder(_Operands):
    """The first pass: numbers the registers and collects who reads and writes them, and all constants.

    ``widths`` are bytes per lane by register number.
    """

    def __init__(self, kernel: Kernel, layout: Layout) -> None:
        super().__init__(kernel, layout)
        self.numbers: dict[str, int] = {}
        self.widths: list[int] = []
        self.constants: dict[tuple[int, Constant], None] = {}  # an ordered set
        self._reads = self._writes = 0

    def access(self, guarded: bool) -> Access:
        """What was read and written since the last call."""
        access = Access(self._reads, self._writes, 0 if guarded else self._writes)
        self._reads = self._writes = 0
        return access

    def _number(self, name: str) -> int:
        if name not in self.numbers:
            self.numbers[name] = len(self.widths)
            self.widths.append(self._widths.get(name) or int(name.removeprefix("_ ")))
        return self.numbers[name]

    def _read_register(self, name: str) -> int:
        self._reads |= 1 << self._number(name)
        return 0

    def _write_register(self, name: str) -> int:
        self._writes |= 1 << self._number(name)
        return 0

    def _read_constant(self, width: int, constant: Constant) -> int:
        self.constants[width, constant] = None
        return 0


class SlotAssigner(_Operands):
    """The second pass: gives byte offsets in the register file."""

    def __init__(
        self, kernel: Kernel, layout: Layout, registers: dict[str, int], constants: dict[tuple[int, Constant], int]
    ) -> None:
        super().__init__(kernel, layout)
        self._registers = registers
        self._constants = constants

    def _read_register(self, name: str) -> int:
        return self._registers[name]

    def _write_register(self, name: str) -> int:
        return self._registers[name]

    def _read_constant(self, width: int, constant: Constant) -> int:
        return self._constants[width, constant]


def _describe(operand: Operand) -> str:
    match operand:
        case Register(name) | SpecialRegister(name) | Symbol(name, _):
            return name
        case Immediate(_, text):
            return f"the literal {text}"
    return f"a {type(operand).__name__.lower()} operand"
