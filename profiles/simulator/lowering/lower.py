"""From a PTX kernel to a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from kernels.errors import RoofgateError
from profiles.simulator.lowering.context import Lowered, Lowering, find_lowering
from profiles.simulator.lowering.control import lower_clock, reads_clock
from profiles.simulator.lowering.control_flow import Access, basic_blocks
from profiles.simulator.lowering.operands import AccessRecorder, SlotAssigner
from profiles.simulator.lowering.program import Constant, Guard, Operation, Program
from profiles.simulator.lowering.registers import SLOT_ALIGNMENT, align, allocate, interference, slot_size
from profiles.simulator.lowering.variables import Layout, layout
from profiles.simulator.lowering.wgmma_watch import watches
from profiles.simulator.ptx.syntax import Kernel, Module

_ASYNCHRONOUS = "wgmma.mma_async"


def lower_kernel(module: Module, name: str) -> Program:
    """Lower one kernel of a module.

    Raises:
        LoweringError: for the first instruction that the simulator does not know.
    """
    kernel = _kernel(module, name)
    places = layout(module, kernel)
    recorder = AccessRecorder(kernel, places)
    lowerings, accesses = _record(kernel, recorder)
    registers, end = _allocate(kernel, recorder, accesses)
    constants, end = _place_constants(recorder.constants, end)
    assigner = SlotAssigner(kernel, places, registers, constants)
    operations = tuple(_operation(assigner, lowering, site, kernel) for site, lowering in enumerate(lowerings))
    program = _program(kernel, places, operations, constants, end)
    return replace(program, watches=watches(kernel.instructions, accesses, recorder.numbers))


def _kernel(module: Module, name: str) -> Kernel:
    if name not in module.kernels:
        known = ", ".join(sorted(module.kernels)) or "none"
        raise RoofgateError(f"the PTX has no kernel {name!r}; it has: {known}")
    kernel = module.kernels[name]
    if not kernel.instructions:
        raise RoofgateError(f"the kernel {name!r} has no instructions; nothing can be simulated")
    return kernel


def _record(kernel: Kernel, recorder: AccessRecorder) -> tuple[list[Lowering], list[Access]]:
    lowerings = []
    accesses = []
    for instruction in kernel.instructions:
        recorder.instruction = instruction
        function = lower_clock if reads_clock(instruction) else find_lowering(instruction)
        if function is None:
            recorder.fail(f"the opcode {instruction.opcode!r} is unknown")
        function(instruction, recorder)
        if instruction.guard is not None:
            recorder.read(instruction.guard.register, "pred")
        lowerings.append(function)
        accesses.append(recorder.access(guarded=instruction.guard is not None))
    return lowerings, accesses


def _allocate(kernel: Kernel, recorder: AccessRecorder, accesses: Sequence[Access]) -> tuple[dict[str, int], int]:
    """Byte offset of every register, and the end of the last one."""
    alone = 0  # an asynchronous product may hold its registers longer than the program's text tells
    for instruction, access in zip(kernel.instructions, accesses, strict=True):
        if instruction.opcode.startswith(_ASYNCHRONOUS):
            alone |= access.reads | access.writes
    conflicts = interference(basic_blocks(kernel), accesses, len(recorder.widths))
    offsets, end = allocate(recorder.widths, conflicts, alone)
    return {name: offsets[number] for name, number in recorder.numbers.items()}, end


def _place_constants(
    constants: Iterable[tuple[int, Constant]], start: int
) -> tuple[dict[tuple[int, Constant], int], int]:
    offsets = {}
    end = start
    for width, constant in sorted(constants, key=lambda item: -item[0]):  # predicates last: they are packed
        offsets[width, constant] = end
        end += slot_size(width)
    return offsets, align(end, SLOT_ALIGNMENT)


def _operation(assigner: SlotAssigner, lowering: Lowering, site: int, kernel: Kernel) -> Operation:
    instruction = kernel.instructions[site]
    assigner.instruction = instruction
    lowered: Lowered = lowering(instruction, assigner)
    guard = instruction.guard
    return Operation(
        lowered.operation,
        lowered.operands,
        None if guard is None else Guard(assigner.read(guard.register, "pred"), guard.negated),
    )


def _program(
    kernel: Kernel,
    places: Layout,
    operations: tuple[Operation, ...],
    constants: dict[tuple[int, Constant], int],
    register_bytes: int,
) -> Program:
    directives = kernel.directives
    cluster = directives.get("reqnctapercluster")
    return Program(
        kernel=kernel.name,
        parameter_bytes=kernel.parameter_bytes,
        static_shared_bytes=places.static_shared_bytes,
        dynamic_shared_alignment=places.dynamic_shared_alignment,
        local_bytes=places.local_bytes,
        register_bytes=register_bytes,
        cluster=_three(cluster, 1) if cluster else None,
        max_threads=prod(directives["maxntid"]) if "maxntid" in directives else 0,
        required_threads=_three(directives["reqntid"], 1) if "reqntid" in directives else (0, 0, 0),
        variables=places.in_memory,
        constants=tuple((offset, width, constant) for (width, constant), offset in constants.items()),
        operations=operations,
    )


def _three(numbers: tuple[int, ...], missing: int) -> tuple[int, int, int]:
    x, y, z = (*numbers, missing, missing)[:3]
    return x, y, z
