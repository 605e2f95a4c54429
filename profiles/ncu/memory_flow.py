"""The way of data through the levels of memory: requests, sectors, wavefronts, bytes and hit rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perf import units
from profiles.ncu.launch_facts import first_number, sum_of
from profiles.ncu.model import Launch

SECTOR_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one kind of access did at one level. None is what was not captured."""

    level: str  # "L1", "shared memory", "L2", "DRAM"
    access: str  # "global loads", "reads", ...
    requests: float | None = None
    sectors: float | None = None  # of 32 bytes
    wavefronts: float | None = None
    bytes: float | None = None
    hit_rate: float | None = None  # fraction of sectors

    @property
    def sectors_per_request(self) -> float | None:
        """4 for a warp that reads 4 consecutive bytes a lane."""
        return _quotient(self.sectors, self.requests)

    @property
    def wavefronts_per_request(self) -> float | None:
        """1 for shared memory without bank conflicts and up to 4 bytes a lane."""
        return _quotient(self.wavefronts, self.requests)

    @property
    def bytes_per_sector(self) -> float | None:
        """Of a sector, what was asked for; None where bytes are only sectors in another unit."""
        return _quotient(self.bytes, self.sectors) if self.level == "L1" else None

    @property
    def idle(self) -> bool:
        """Nothing went this way."""
        return not any((self.requests, self.sectors, self.wavefronts, self.bytes))

    @property
    def sentence(self) -> str:
        """For people."""
        parts = [
            _part(self.requests, units.count, "requests"),
            _part(self.sectors, units.count, "sectors"),
            _part(self.sectors_per_request, _ratio, "sectors/request"),
            _part(self.wavefronts, units.count, "wavefronts"),
            _part(self.wavefronts_per_request, _ratio, "wavefronts/request"),
            _part(self.bytes, units.byte_total, ""),
            _part(self.bytes_per_sector, _ratio, "bytes/sector used"),
            _part(self.hit_rate, units.percent, "hits"),
        ]
        return f"{self.level} {self.access}: " + ", ".join(part for part in parts if part)


_GLOBAL_AND_LOCAL = (
    ("global loads", "global_op_ld"),
    ("global stores", "global_op_st"),
    ("global atomics", "global_op_atom"),
    ("global reductions", "global_op_red"),
    ("local loads", "local_op_ld"),
    ("local stores", "local_op_st"),
)


def memory_flow(launch: Launch) -> tuple[Flow, ...]:
    """The flows of ``launch`` from the core to the memory. A way that was captured and not used is left out."""
    flows = [_l1_flow(launch, access, key) for access, key in _GLOBAL_AND_LOCAL]
    flows += [_async_copies(launch), *_shared_flows(launch), _l2_flow(launch, "all", "lts__t", "")]
    flows += [_l2_flow(launch, f"{name}s", "lts__t", f"_op_{name}") for name in ("read", "write")]
    flows += [_dram_flow(launch, name) for name in ("read", "write")]
    return tuple(flow for flow in flows if not flow.idle)


def shared_requests(launch: Launch) -> float | None:
    """Instructions of warps that access shared memory, matrix loads, wgmma and asynchronous copies into it included."""
    parts = (
        "smsp__sass_inst_executed_op_shared_ld.sum",
        "smsp__sass_inst_executed_op_shared_st.sum",
        "smsp__inst_executed_op_ldsm.sum",
        "smsp__sass_inst_executed_op_shared_gmma.sum",
    )
    copies = first_number(launch, ("smsp__inst_executed_op_ldgsts.sum", "smsp__sass_inst_executed_op_ldgsts.sum"))
    counted = sum_of(launch, parts)
    if counted is not None or copies is not None:
        return (counted or 0.0) + (copies or 0.0)
    return sum_of(launch, ("sass__inst_executed_shared_loads", "sass__inst_executed_shared_stores"))


def shared_wavefronts(launch: Launch) -> float | None:
    """Wavefronts of shared memory: by patched instructions, which is exact, or else by hardware."""
    hardware = "l1tex__data_pipe_lsu_wavefronts_mem_shared"
    whole = first_number(launch, ("memory_l1_wavefronts_shared", f"{hardware}.sum"))
    return whole if whole is not None else sum_of(launch, (f"{hardware}_op_ld.sum", f"{hardware}_op_st.sum"))


def excess_wavefronts(launch: Launch) -> float | None:
    """Wavefronts of shared memory that bank conflicts add: exact if known from patched instructions."""
    whole, ideal = (launch.number_of(f"memory_l1_wavefronts_shared{end}") for end in ("", "_ideal"))
    if whole is not None and ideal is not None:
        return whole - ideal
    conflicts = "l1tex__data_bank_conflicts_pipe_lsu_mem_shared"
    total = launch.number_of(f"{conflicts}.sum")
    return total if total is not None else sum_of(launch, (f"{conflicts}_op_ld.sum", f"{conflicts}_op_st.sum"))


def _l1_flow(launch: Launch, access: str, key: str) -> Flow:
    pipe = f"pipe_lsu_mem_{key}"
    sectors = launch.number_of(f"l1tex__t_sectors_{pipe}.sum")
    used = launch.number_of(f"smsp__sass_average_data_bytes_per_sector_mem_{key}.ratio")
    return Flow(
        level="L1",
        access=access,
        requests=launch.number_of(f"l1tex__t_requests_{pipe}.sum"),
        sectors=sectors,
        wavefronts=launch.number_of(f"l1tex__t_output_wavefronts_{pipe}.sum"),
        # A ratio of 0 is that of other instructions than those which moved the sectors.
        bytes=sectors * used if sectors and used else None,
        hit_rate=_hit_rate(launch, f"l1tex__t_sectors_{pipe}", f"l1tex__t_sector_{pipe}_hit_rate.pct"),
    )


def _async_copies(launch: Launch) -> Flow:
    name = "sm__sass_l1tex_m_xbar2l1tex_read_bytes_mem_global_op_ldgsts_cache_bypass.sum"
    return Flow(
        level="L2",
        access="asynchronous copies past L1 (also global loads)",
        requests=launch.number_of("sm__sass_l1tex_t_requests_pipe_lsu_mem_global_op_ldgsts_cache_bypass.sum"),
        sectors=launch.number_of("sm__sass_l1tex_t_sectors_pipe_lsu_mem_global_op_ldgsts_cache_bypass.sum"),
        bytes=launch.number_of(name),
    )


def _shared_flows(launch: Launch) -> list[Flow]:
    flows = []
    for access, key, extra in (("loads", "ld", ("smsp__inst_executed_op_ldsm.sum",)), ("stores", "st", ())):
        requests = sum_of(launch, (f"smsp__sass_inst_executed_op_shared_{key}.sum", *extra))
        wavefronts = launch.number_of(f"l1tex__data_pipe_lsu_wavefronts_mem_shared_op_{key}.sum")
        flows.append(Flow(level="shared memory", access=access, requests=requests, wavefronts=wavefronts))
    whole = Flow(
        level="shared memory",
        access="all",
        requests=shared_requests(launch),
        wavefronts=shared_wavefronts(launch),
    )
    return [*flows, whole]


def _l2_flow(launch: Launch, access: str, unit: str, key: str) -> Flow:
    sectors = launch.number_of(f"{unit}_sectors{key}.sum")
    return Flow(
        level="L2",
        access=access,
        requests=launch.number_of(f"{unit}_requests{key}.sum"),
        sectors=sectors,
        bytes=None if sectors is None else sectors * SECTOR_BYTES,
        hit_rate=_hit_rate(launch, f"{unit}_sectors{key}", f"{unit}_sector{key}_hit_rate.pct"),
    )


def _dram_flow(launch: Launch, access: str) -> Flow:
    return Flow(
        level="DRAM",
        access=f"{access}s",
        sectors=launch.number_of(f"dram__sectors_{access}.sum"),
        bytes=launch.number_of(f"dram__bytes_{access}.sum"),
    )


def _hit_rate(launch: Launch, sectors: str, stated: str) -> float | None:
    """What ncu states, or else hits over all sectors, which is the same."""
    percentage = launch.number_of(stated)
    if percentage is not None:
        return percentage / 100
    return _quotient(launch.number_of(f"{sectors}_lookup_hit.sum"), launch.number_of(f"{sectors}.sum"))


def _quotient(top: float | None, bottom: float | None) -> float | None:
    return top / bottom if top is not None and bottom else None


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _part(value: float | None, text: Callable[[float], str], name: str) -> str:
    return "" if value is None else f"{text(value)} {name}".rstrip()
