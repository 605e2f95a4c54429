"""What a launch executes: instructions by opcode, lanes in use, and registers spilled to local memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perf import units
from profiles.ncu.launch_facts import first_number, sum_of
from profiles.ncu.model import Launch
from profiles.occupancy import WARP_SIZE

OPCODES = "sass__inst_executed_per_opcode"
TENSOR_OPCODES = ("HMMA", "HGMMA", "IMMA", "IGMMA", "QGMMA", "BMMA", "BGMMA", "DMMA", "QMMA", "OMMA", "UTCHMMA")
_LOCAL_LOADS = (
    "smsp__sass_inst_executed_op_local_ld.sum",
    "smsp__inst_executed_op_local_ld.sum",
    "sass__inst_executed_local_loads",
)
_LOCAL_STORES = (
    "smsp__sass_inst_executed_op_local_st.sum",
    "smsp__inst_executed_op_local_st.sum",
    "sass__inst_executed_local_stores",
)
_LOCAL_OPCODES = ("LDL", "STL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opcode:
    """One opcode and how often warps executed it."""

    name: str
    executed: float
    share: float  # of all instructions


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionMix:
    """Counts are instructions of warps. None is what was not captured."""

    executed: float | None
    issued: float | None  # with those issued again
    lanes: float | None  # threads in an instruction, of 32
    opcodes: tuple[Opcode, ...]  # the most frequent first
    local_loads: float | None
    local_stores: float | None
    spilling: float | None  # instructions that spill, where ncu tells them from other local memory

    @property
    def local(self) -> float | None:
        """Instructions that access local memory: spilled registers and arrays that are indexed at run time."""
        known = [value for value in (self.local_loads, self.local_stores) if value is not None]
        return sum(known) if known else None

    @property
    def tensor(self) -> float | None:
        """Instructions of the tensor cores; None without counts by opcode."""
        return _sum_of_opcodes(self.opcodes, TENSOR_OPCODES) if self.opcodes else None

    @property
    def sentence(self) -> str:
        """For people; empty if nothing was captured."""
        parts = []
        if self.executed is not None:
            parts.append(f"{units.count(self.executed)} instructions")
        if self.lanes is not None:
            parts.append(f"{self.lanes:.1f} of {WARP_SIZE} lanes in use")
        if self.opcodes:
            most = ", ".join(f"{opcode.name} {units.percent(opcode.share)}" for opcode in self.opcodes[:6])
            parts.append(f"most are {most}")
        return "; ".join(parts)

    @property
    def spill_sentence(self) -> str:
        """For people; empty if it is not known."""
        if self.local is None:
            return ""
        if self.local == 0:
            return "no access to local memory: nothing is spilled"
        spilling = "" if self.spilling is None else f", {units.count(self.spilling)} of them spills"
        share = f" ({units.percent(self.local / self.executed)} of all)" if self.executed else ""
        return f"{units.count(self.local)} instructions access local memory{share}{spilling}"


def instruction_mix(launch: Launch) -> InstructionMix:
    """What ``launch`` executed."""
    executed = first_number(launch, ("smsp__inst_executed.sum", "sm__inst_executed.sum", "inst_executed"))
    opcodes = _opcodes(launch)
    loads, stores = _local(launch, opcodes)
    return InstructionMix(
        executed=executed,
        issued=first_number(launch, ("smsp__inst_issued.sum", "sm__inst_issued.sum")),
        lanes=_lanes(launch, executed),
        opcodes=opcodes,
        local_loads=loads,
        local_stores=stores,
        spilling=first_number(launch, ("sass__inst_executed_register_spilling",)),
    )


def opcode_counts(launch: Launch) -> Mapping[str, float]:
    """How often each opcode was executed; empty if the capture does not tell."""
    counter = launch.counters.get(OPCODES)
    return counter.instances if counter is not None else {}


def tensor_instructions(launch: Launch) -> float | None:
    """Instructions of the tensor cores, by opcode or else by their pipes: Ada names its own, Blackwell has two."""
    by_opcode = instruction_mix(launch).tensor
    if by_opcode is not None:
        return by_opcode
    pipe = first_number(launch, ("sm__inst_executed_pipe_tensor.sum", "sm__inst_executed_pipe_tensor_v2.sum"))
    fifth_generation = launch.number_of("sm__inst_executed_pipe_tc.sum")
    known = [count for count in (pipe, fifth_generation) if count is not None]
    return sum(known) if known else None


def _opcodes(launch: Launch) -> tuple[Opcode, ...]:
    counts = opcode_counts(launch)
    total = sum(counts.values())
    found = [Opcode(name=name, executed=count, share=count / total) for name, count in counts.items() if count > 0]
    return tuple(sorted(found, key=lambda opcode: (-opcode.executed, opcode.name)))


def _local(launch: Launch, opcodes: tuple[Opcode, ...]) -> tuple[float | None, float | None]:
    loads, stores = first_number(launch, _LOCAL_LOADS), first_number(launch, _LOCAL_STORES)
    if loads is None and stores is None and opcodes:
        load, store = (_sum_of_opcodes(opcodes, (name,)) for name in _LOCAL_OPCODES)
        return load, store
    if loads is None and stores is None:
        return sum_of(launch, ("smsp__sass_inst_executed_op_local.sum",)), None
    return loads, stores


def _sum_of_opcodes(opcodes: tuple[Opcode, ...], names: tuple[str, ...]) -> float:
    return sum(opcode.executed for opcode in opcodes if opcode.name.partition(".")[0] in names)


def _lanes(launch: Launch, executed: float | None) -> float | None:
    ratio = launch.number_of("smsp__thread_inst_executed_per_inst_executed.ratio")
    threads = first_number(launch, ("smsp__thread_inst_executed.sum", "thread_inst_executed"))
    return ratio if ratio is not None or threads is None or not executed else threads / executed
