"""Device memory: one set of bytes at one address in two processes, with nothing around it."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest

from kernels.errors import RoofgateError
from profiles.simulator.device_memory import ALIGNMENT_BYTES, DeviceMemory


@pytest.mark.parametrize("size", [1, 255, 256, 4096, 5000])
def test_an_array_is_aligned_and_ends_where_its_pages_end(memory: DeviceMemory, size: int) -> None:
    """256 bytes as cudaMalloc promises; the guard page begins less than that behind the last byte."""
    placed = memory.place(np.zeros(size, np.uint8))
    region = memory.regions[0]

    assert placed.address % ALIGNMENT_BYTES == 0
    assert region.address <= placed.address
    assert 0 <= region.address + region.bytes - (placed.address + size) < ALIGNMENT_BYTES


def test_values_shape_and_type_are_kept(memory: DeviceMemory) -> None:
    """Also of arrays that are not in C order, have no dimension, or no element."""
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)
    placed = memory.place(values, name="values")

    assert np.array_equal(placed.array, values)
    assert placed.array.flags.c_contiguous
    assert placed.bytes == 48
    assert memory.place(np.float32(2.5)).array.shape == ()
    assert memory.place(np.zeros((0, 4))).array.shape == (0, 4)


def test_the_view_shows_the_bytes_at_the_address(memory: DeviceMemory) -> None:
    """A pointer to the address and the array are the same memory."""
    placed = memory.place(np.zeros(4, np.int32))
    (ctypes.c_int32 * 4).from_address(placed.address)[2] = 7

    assert list(placed.array) == [0, 0, 7, 0]


def is_mapped(address: int) -> bool:
    """Whether this process can reach the byte."""
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(start, 16) <= address < int(end, 16) for start, end in ranges)


def test_the_pages_around_an_array_are_not_mapped(memory: DeviceMemory) -> None:
    """Even what no table catches ends at a guard page, also between neighbours."""
    memory.place(np.zeros(16, np.uint8))
    placed = memory.place(np.zeros(4096, np.uint8))
    memory.place(np.zeros(16, np.uint8))

    assert [is_mapped(placed.address + offset) for offset in (-1, 0, 4095, 4096)] == [False, True, True, False]


def test_memories_exist_side_by_side_and_give_their_addresses_back() -> None:
    """Equal programs see equal addresses, whatever was there before."""
    gc.collect()  # or the memory of an earlier test goes in between
    with DeviceMemory() as first, DeviceMemory() as second:
        addresses = first.place(np.zeros(8)).address, second.place(np.zeros(8)).address
    del first, second
    gc.collect()
    with DeviceMemory() as third:
        assert third.place(np.zeros(8)).address == min(addresses)
    assert len(set(addresses)) == 2


def test_arrays_outlive_their_memory_but_it_takes_no_more() -> None:
    """Results are read after the launch is over; a forgotten view must not be a crash."""
    with DeviceMemory() as memory:
        placed = memory.place(np.arange(4))
    del memory
    gc.collect()

    assert list(placed.array) == [0, 1, 2, 3]
    with DeviceMemory() as memory:
        pass
    with pytest.raises(RoofgateError, match="closed"):
        memory.place(np.zeros(1))
