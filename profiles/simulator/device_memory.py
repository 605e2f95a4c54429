"""Global memory of the simulated device: arrays at addresses that hold in this process and in the simulator's.

A memory file of the system is mapped at one fixed address in both processes, so a pointer that host code stores in a
structure or a tensor means the same bytes on both sides, and nothing is copied. Every array ends where its last page
ends, give or take its alignment, and the pages around it are not mapped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kernels.errors import RoofgateError

ALIGNMENT_BYTES = 256  # what cudaMalloc promises

_FIRST_ADDRESS = 0x2000_0000_0000  # far from where Linux puts programs, libraries and stacks on x86-64 and AArch64
_SLOT_BYTES = 1 << 36  # of one DeviceMemory: addresses only, no memory
_SLOTS = 256
_PAGE_BYTES = mmap.PAGESIZE
_MAP_FIXED_NOREPLACE = 0x100000
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


@dataclass(frozen=True, slots=True)
class Region:
    """Pages of the memory file and where they are mapped."""

    address: int
    bytes: int
    file_offset: int


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """One array of the device. ``array`` is a view: it changes with what a simulated kernel writes."""

    name: str
    address: int
    array: npt.NDArray[Any]

    @property
    def bytes(self) -> int:
        """Its size; the byte behind them is out of bounds."""
        return self.array.nbytes


class DeviceMemory:
    """The arrays that simulated kernels can reach; a context manager.

    Arrays stay readable after the memory is closed, but no kernel can be launched on them any more.
    """

    def __init__(self) -> None:
        self._slot = _Slot()
        self._next_offset = _PAGE_BYTES
        self._regions: list[Region] = []
        self._arrays: list[DeviceArray] = []
        self._file: int | None = os.memfd_create("roofgate-device-memory", os.MFD_CLOEXEC)

    def __enter__(self) -> DeviceMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the arrays. Their pages go when nobody looks at them any more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._arrays.clear()

    @property
    def file(self) -> int:
        """Descriptor of the memory file; raises :class:`RoofgateError` once the memory is closed."""
        if self._file is None:
            raise RoofgateError("this DeviceMemory is closed; launch kernels inside its `with` block")
        return self._file

    @property
    def regions(self) -> Sequence[Region]:
        """What another process has to map to see the same bytes at the same addresses."""
        return tuple(self._regions)

    @property
    def arrays(self) -> Sequence[DeviceArray]:
        """All arrays, in the order in which they were placed."""
        return tuple(self._arrays)

    def place(self, values: npt.ArrayLike, name: str = "array") -> DeviceArray:
        """Copy ``values``, of any shape and dtype, to the device, in C order and aligned to 256 bytes.

        Raises:
            RoofgateError: the memory is closed, or the addresses or the system's memory are used up.
        """
        source = np.ascontiguousarray(values).reshape(np.shape(values))
        mapping, address = self._map(source.nbytes)
        view = np.asarray(mapping)[address - mapping.address :][: source.nbytes]
        array = view.view(source.dtype).reshape(source.shape) if source.nbytes else np.empty_like(source)
        array[...] = source
        placed = DeviceArray(" ".join(name.split()), address, array)  # a name is part of a line
        self._arrays.append(placed)
        return placed

    def _map(self, size: int) -> tuple[_Mapping, int]:
        """Pages for ``size`` bytes, and the address of the first byte, as close to the pages' end as can be."""
        room = _round_up(max(size, 1), ALIGNMENT_BYTES)
        pages = _round_up(room, _PAGE_BYTES)
        offset, self._next_offset = self._next_offset, self._next_offset + pages + _PAGE_BYTES
        if self._next_offset > _SLOT_BYTES:
            raise RoofgateError(f"an array of {size} bytes does not fit: a DeviceMemory holds {_SLOT_BYTES} bytes")
        os.ftruncate(self.file, offset + pages)
        mapping = _Mapping(self.file, Region(self._slot.address + offset, pages, offset), self._slot)
        self._regions.append(Region(mapping.address, pages, offset))
        return mapping, mapping.address + pages - room


class _Slot:
    """A range of addresses for one DeviceMemory, given back when its last array is gone."""

    _taken: ClassVar[set[int]] = set()
    _lock = threading.Lock()

    def __init__(self) -> None:
        with self._lock:
            index = next((index for index in range(_SLOTS) if index not in self._taken), None)
            if index is None:
                raise RoofgateError(f"{_SLOTS} device memories exist already; close those that are not needed")
            self._taken.add(index)
        self.address = _FIRST_ADDRESS + index * _SLOT_BYTES
        weakref.finalize(self, self._taken.discard, index).atexit = False


class _Mapping:
    """Mapped pages as numpy sees them; unmapped with the last array that looks at them."""

    def __init__(self, file: int, region: Region, slot: _Slot) -> None:
        self.address = region.address
        self._slot = slot  # keeps the addresses
        flags = mmap.MAP_SHARED | _MAP_FIXED_NOREPLACE
        access = mmap.PROT_READ | mmap.PROT_WRITE
        found = _libc.mmap(region.address, region.bytes, access, flags, file, region.file_offset)
        if found != region.address:
            reason = os.strerror(ctypes.get_errno()) if found in (None, _MAP_FAILED) else "the address is ignored"
            raise RoofgateError(f"{region.bytes} bytes cannot be mapped at {region.address:#x}: {reason}")
        self.__array_interface__ = {
            "version": 3,
            "shape": (region.bytes,),
            "typestr": "|u1",
            "data": (region.address, False),
        }
        weakref.finalize(self, _libc.munmap, region.address, region.bytes).atexit = False


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
