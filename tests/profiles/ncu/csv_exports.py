"""CSV exports as ncu writes them, for tests: every field quoted, a metric's row of the details page cut short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

IDENTITY = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream")
SHAPE = ("Block Size", "Grid Size", "Device", "CC")
NVTX = (
    "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg",
    "Id:Domain:Start/Stop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg",
)
DETAILS = ("Section Name", "Metric Name", "Metric Unit", "Metric Value", "Rule Name", "Rule Type", "Rule Description")
KERNEL = 'void gemm<(int)4, "quoted, name">(T1::Params)'


def line(fields: Sequence[str]) -> str:
    """One record, without its line end."""
    return ",".join('"' + field.replace('"', '""') + '"' for field in fields)


def identity(number: int, kernel: str = KERNEL) -> tuple[str, ...]:
    """The fields below ``IDENTITY``."""
    return (str(number), "4711", "python3", "127.0.0.1", kernel, "1", "7")


def shape() -> tuple[str, ...]:
    """The fields below ``SHAPE``."""
    return ("(128, 1, 1)", "(24, 4, 2)", "0", "9.0")


def raw_page(metrics: Mapping[str, tuple[str, Sequence[str]]], kernel: str = KERNEL) -> str:
    """``metrics``: name -> unit and the value of each launch."""
    header = line((*IDENTITY, *SHAPE, *metrics))
    units = line(("",) * 11 + tuple(unit for unit, _ in metrics.values()))
    launches = len(next(iter(metrics.values()))[1])
    rows = [
        line((*identity(number, kernel), *shape(), *(values[number] for _, values in metrics.values())))
        for number in range(launches)
    ]
    return "\n".join([header, units, *rows]) + "\n"


def details_page(rows: Sequence[tuple[str, str, str, str]], rules: Sequence[tuple[str, str, str, str]] = ()) -> str:
    """One launch; ``rows``: section, metric, unit, value; ``rules``: section, rule, type, description."""
    start = (*identity(0), *shape())
    lines = [line((*IDENTITY, *SHAPE, *DETAILS))]
    lines += [line((*start, *row)) + "," for row in rows]
    lines += [line((*start, section, "", "", "", *rest)) for section, *rest in rules]
    return "\n".join(lines) + "\n"
