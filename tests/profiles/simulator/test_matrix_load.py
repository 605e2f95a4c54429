"""ldmatrix, stmatrix and movmatrix: which bytes go to which lane, at what cost, and what is refused.

PTX ISA: matrix i has the addresses of its rows in lanes 8 i to 8 i + 7; lane l holds elements 2 (l % 4) and the next of
row l / 4, or with .trans of column l / 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.simulator.counters import SiteCounters
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.findings import Finding
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Options, Outcome, launch_kernel, load_kernel

Array = npt.NDArray[Any]

LANES = 32
ROW_BYTES = 16
TILE_BYTES = 4096
ROWS = TILE_BYTES // ROW_BYTES

# Lane l copies every 32nd word of the tile to shared memory, and back at the end.
KERNEL = """
.version 8.7
.target sm_90a
.address_size 64
.visible .entry move(.param .u64 tile, .param .u64 addresses, .param .u64 fragments)
{{
.shared .align 128 .b8 buffer[{bytes}];
.reg .pred %again;
.reg .b32 %lane, %offset, %word, %base, %row, %r<4>;
.reg .b64 %tile, %address, %fragment, %source, %wide, %generic;
mov.u32 %lane, %tid.x;
mov.u32 %base, buffer;
ld.param.u64 %tile, [tile];
ld.param.u64 %address, [addresses];
ld.param.u64 %fragment, [fragments];
mad.wide.u32 %address, %lane, 4, %address;
mad.wide.u32 %fragment, %lane, 4, %fragment;
ld.global.u32 %row, [%address];
add.u32 %row, %row, %base;
shl.b32 %offset, %lane, 2;
FILL:
cvt.u64.u32 %wide, %offset;
add.u64 %source, %tile, %wide;
ld.global.u32 %word, [%source];
{fill}
add.u32 %offset, %offset, 128;
setp.lt.u32 %again, %offset, {bytes};
@%again bra FILL;
bar.sync 0;
{body}
bar.sync 0;
shl.b32 %offset, %lane, 2;
EMPTY:
cvt.u64.u32 %wide, %offset;
add.u64 %source, %tile, %wide;
add.u32 %word, %base, %offset;
ld.shared.u32 %word, [%word];
st.global.u32 [%source], %word;
add.u32 %offset, %offset, 128;
setp.lt.u32 %again, %offset, {bytes};
@%again bra EMPTY;
ret;
}}
"""
FILL = "add.u32 %r0, %base, %offset; st.shared.u32 [%r0], %word;"


def kernel_text(body: str, fill: str = FILL) -> str:
    """The kernel around ``body``, which finds the lane's row address in %row."""
    return KERNEL.format(body=body, fill=fill, bytes=TILE_BYTES)


def registers(count: int) -> str:
    """The first registers as a vector."""
    return "{" + ", ".join(f"%r{index}" for index in range(count)) + "}"


def load_body(opcode: str, count: int, address: str = "%row") -> str:
    """Loads fragments and stores their registers one after the other."""
    stores = [f"st.global.u32 [%fragment+{128 * index}], %r{index};" for index in range(count)]
    return "\n".join([f"{opcode} {registers(count)}, [{address}];", *stores])


def store_body(opcode: str, count: int) -> str:
    """Loads registers and stores them as matrices."""
    loads = [f"ld.global.u32 %r{index}, [%fragment+{128 * index}];" for index in range(count)]
    return "\n".join([*loads, f"{opcode} [%row], {registers(count)};"])


class Run:
    """One launch of a kernel of one warp on a tile, row addresses and fragments."""

    def __init__(self, ptx: str, tile: Array, addresses: Array, fragments: Array, *, races: bool = False) -> None:
        with DeviceMemory() as memory:
            arrays = [memory.place(values) for values in (tile, addresses.astype(np.uint32), fragments)]
            options = Options(check_races=races)
            self.outcome: Outcome = launch_kernel(
                ptx, "move", grid=(1, 1, 1), block=(LANES, 1, 1), arguments=arrays, memory=memory, options=options
            )
            self.tile, _, self.fragments = (array.array.copy() for array in arrays)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found."""
        return self.outcome.findings

    def counters(self, root: str) -> SiteCounters:
        """Those of the only instruction with this root."""
        launch = self.outcome.launches[0]
        (site,) = (site for site, what in enumerate(launch.kernel.instructions) if what.root == root)
        return launch.counters[site]


def random_tile() -> Array:
    """A tile of 16-bit numbers, all different."""
    return np.random.default_rng(5).permutation(TILE_BYTES // 2).astype(np.uint16).reshape(ROWS, 8)


def no_fragments() -> Array:
    """Four registers of a warp that a kernel has to overwrite."""
    return np.full((4, LANES, 2), 0xABCD, np.uint16)


def fragment_of(matrix: Array, *, transposed: bool) -> Array:
    """(lanes, halves) of an 8x8 matrix."""
    fragment = np.empty((LANES, 2), np.uint16)
    for lane in range(LANES):
        for half in (0, 1):
            row, column = lane // 4, 2 * (lane % 4) + half
            fragment[lane, half] = matrix[column, row] if transposed else matrix[row, column]
    return fragment


TRANSPOSED = pytest.mark.parametrize("transposed", [False, True], ids=["rows", "columns"])
COUNTS = pytest.mark.parametrize("count", [1, 2, 4])


@TRANSPOSED
@COUNTS
@settings(max_examples=8, deadline=None)
@given(rows=st.lists(st.integers(0, ROWS - 1), min_size=LANES, max_size=LANES))
def test_a_lane_gets_two_elements_of_its_row_or_column(count: int, transposed: bool, rows: list[int]) -> None:
    """Rows may lie anywhere, also twice; registers of other matrices and the tile stay as they are."""
    opcode = f"ldmatrix.sync.aligned.m8n8.x{count}{'.trans' if transposed else ''}.shared.b16"
    tile, chosen = random_tile(), np.array(rows)

    run = Run(kernel_text(load_body(opcode, count)), tile, chosen * ROW_BYTES, no_fragments(), races=True)

    expected = no_fragments()
    for matrix in range(count):
        expected[matrix] = fragment_of(tile[chosen[8 * matrix :][:8]], transposed=transposed)
    assert run.findings == ()
    assert np.array_equal(run.fragments, expected)
    assert np.array_equal(run.tile, tile)


@TRANSPOSED
@COUNTS
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(ROWS)))
def test_stmatrix_puts_a_fragment_where_ldmatrix_finds_it(count: int, transposed: bool, order: list[int]) -> None:
    """The inverse of the rule above; all other rows stay as they are."""
    opcode = f"stmatrix.sync.aligned.m8n8.x{count}{'.trans' if transposed else ''}.shared::cta.b16"
    tile, chosen = random_tile(), np.array(order[:LANES])
    matrices = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8) + 5000
    fragments = np.stack([fragment_of(matrix, transposed=transposed) for matrix in matrices])

    run = Run(kernel_text(store_body(opcode, count)), tile, chosen * ROW_BYTES, fragments, races=True)

    expected = tile.copy()
    for matrix in range(count):
        expected[chosen[8 * matrix :][:8]] = matrices[matrix]
    assert run.findings == ()
    assert np.array_equal(run.tile, expected)


def test_movmatrix_transposes_a_fragment() -> None:
    """Lane l gets two elements of column l / 4 of the matrix whose rows the lanes hold."""
    matrix = np.arange(64, dtype=np.uint16).reshape(8, 8)
    fragments = no_fragments()
    fragments[0] = fragment_of(matrix, transposed=False)
    body = (
        "ld.global.u32 %r0, [%fragment];movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r0;st.global.u32 [%fragment], %r0;"
    )

    run = Run(kernel_text(body), random_tile(), np.zeros(LANES), fragments)

    assert run.findings == ()
    assert np.array_equal(run.fragments[0], fragment_of(matrix, transposed=True))


@pytest.mark.parametrize("address", ["%wide", "%generic"])
def test_addresses_may_be_64_bits_wide_or_generic(address: str) -> None:
    """Without a state space the address is generic; with .shared a 64-bit register holds the plain offset."""
    space = "" if address == "%generic" else ".shared"
    widen = "cvt.u64.u32 %wide, %row; cvta.shared.u64 %generic, %wide;\n"
    body = widen + load_body(f"ldmatrix.sync.aligned.m8n8.x4{space}.b16", 4, f"{address}+32")
    tile, rows = random_tile(), np.arange(LANES)

    run = Run(kernel_text(body), tile, rows * ROW_BYTES, no_fragments())

    assert run.findings == ()
    assert np.array_equal(run.fragments[3], fragment_of(tile[rows[24:] + 2], transposed=False))


def row_addresses(stride: int, swizzle: bool) -> Array:
    """Rows of 16 bytes in a tile whose rows lie ``stride`` bytes apart, 8 to a matrix, matrices side by side."""
    row, matrix = np.arange(LANES) % 8, np.arange(LANES) // 8
    chunk = matrix ^ row if swizzle else matrix
    return row * stride + chunk * ROW_BYTES


@pytest.mark.parametrize(
    ("stride", "swizzle", "wavefronts"),
    [
        pytest.param(128, False, 32, id="all rows in the same four banks"),
        pytest.param(128, True, 4, id="XOR swizzle"),
        pytest.param(80, False, 4, id="padded rows"),
        pytest.param(64, False, 16, id="every second row in the same banks"),
    ],
)
@pytest.mark.parametrize("root", ["ldmatrix", "stmatrix"])
def test_each_matrix_is_a_request_of_eight_rows(root: str, stride: int, swizzle: bool, wavefronts: int) -> None:
    """One wavefront for a matrix whose rows share no bank, eight if they all lie in the same banks."""
    opcode = f"{root}.sync.aligned.m8n8.x4.shared.b16"
    body = load_body(opcode, 4) if root == "ldmatrix" else store_body(opcode, 4)

    run = Run(kernel_text(body), random_tile(), row_addresses(stride, swizzle), no_fragments())

    assert run.counters(root).requests == 4
    assert run.counters(root).wavefronts == wavefronts


def test_lanes_without_a_row_need_no_address() -> None:
    """.x1 uses the addresses of lanes 0 to 7 only."""
    addresses = np.arange(LANES) * ROW_BYTES
    addresses[8:] = 2**20 + 1

    run = Run(kernel_text(load_body("ldmatrix.sync.aligned.m8n8.x1.shared.b16", 1)), random_tile(), addresses,
              no_fragments())  # fmt: skip

    assert run.findings == ()
    assert run.counters("ldmatrix").requests == 1


@pytest.mark.parametrize(
    ("address", "check"), [(8, "misaligned"), (TILE_BYTES, "out-of-bounds"), (2**24 - 16, "out-of-bounds")]
)
@pytest.mark.parametrize("root", ["ldmatrix", "stmatrix"])
def test_a_wrong_row_address_is_found_in_its_lane(root: str, address: int, check: str) -> None:
    """Rows are 16 bytes in the block's own memory, aligned to 16."""
    opcode = f"{root}.sync.aligned.m8n8.x4.shared.b16"
    body = load_body(opcode, 4) if root == "ldmatrix" else store_body(opcode, 4)
    addresses = np.arange(LANES) * ROW_BYTES
    addresses[21] = address

    (finding,) = Run(kernel_text(body), random_tile(), addresses, no_fragments()).findings

    assert (finding.check, finding.lanes, finding.bytes) == (check, (21,), ROW_BYTES)


def test_rows_that_nobody_wrote_are_found() -> None:
    """With races checked, ldmatrix reads like any other load."""
    body = load_body("ldmatrix.sync.aligned.m8n8.x4.shared.b16", 4)

    run = Run(kernel_text(body, fill=""), random_tile(), np.arange(LANES) * ROW_BYTES, no_fragments(), races=True)

    assert run.findings[0].check == "uninitialised-shared"


def test_a_guard_that_not_all_lanes_pass_is_found() -> None:
    """.aligned: the whole warp executes the instruction."""
    body = load_body("@%again ldmatrix.sync.aligned.m8n8.x1.shared.b16", 1)

    run = Run(kernel_text("setp.ne.u32 %again, %lane, 3;\n" + body), random_tile(), np.zeros(LANES), no_fragments())

    assert [finding.check for finding in run.findings] == ["divergence"]


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r0, %r1}, [%row]", "m8n8"),
        ("ldmatrix.sync.aligned.m8n8.x3.shared.b16 {%r0, %r1, %r2}, [%row]", ".x1, .x2 or .x4"),
        ("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1}, [%row]", "4 registers"),
        ("ldmatrix.sync.aligned.m8n8.x1.shared::cluster.b16 {%r0}, [%row]", "shared::cluster"),
        ("stmatrix.sync.aligned.m16n8.x1.trans.shared.b8 [%row], {%r0}", "m8n8"),
        ("movmatrix.sync.aligned.m8n8.b16 %r0, %r1", "movmatrix.sync.aligned.m8n8.trans.b16"),
    ],
)
def test_a_form_that_is_not_known_is_refused_with_its_reason(instruction: str, reason: str) -> None:
    """Nothing is ignored silently."""
    with pytest.raises(LoweringError, match="PTX line") as refusal:
        load_kernel(kernel_text(f"{instruction};"), "move")

    assert reason in str(refusal.value)
