"""The CUDA driver's interface through ctypes: as much as it takes to run a probe."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.errors import RoofgateError
from profiles.simulator.probes.probe import Tensor

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_ERROR_LOG, _ERROR_LOG_BYTES = 5, 6  # CU_JIT_ERROR_LOG_BUFFER and ..._SIZE_BYTES
_CLUSTER_DIMENSION = 4  # CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
_MAP_BYTES, _MAP_ALIGNMENT = 128, 64
# CUtensorMapDataType, CUtensorMapSwizzle
_TYPES = {
    "u8": 0, "u16": 1, "u32": 2, "s32": 3, "u64": 4, "s64": 5, "f16": 6, "f32": 7, "f64": 8, "bf16": 9, "f32.ftz": 10,
    "tf32": 11, "tf32.ftz": 12,
}  # fmt: skip
_SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}

Bytes = npt.NDArray[np.uint8]


class DriverError(Exception):
    """A call that failed; ``ends_context`` if nothing more can be done in this process."""

    def __init__(self, message: str, *, ends_context: bool = False) -> None:
        super().__init__(message)
        self.ends_context = ends_context


@dataclass(frozen=True, slots=True)
class Device:
    """What there is to know of the GPU."""

    name: str
    compute_capability: tuple[int, int]
    driver: int  # 13000 for CUDA 13.0


class _Attribute(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_int),
        ("padding", ctypes.c_char * 4),
        ("cluster", ctypes.c_uint * 3),
        ("rest", ctypes.c_char * 52),
    )


class _Configuration(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("dynamic_shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("attribute_count", ctypes.c_uint),
    )


class Driver:
    """The driver and the first GPU. Raises :class:`RoofgateError` if there is none."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise RoofgateError(
                f"no GPU here: {error}; run this on a machine with an NVIDIA driver, or compare with --against expected"
            ) from error
        try:
            self._call("cuInit", 0)
            device = ctypes.c_int()
            self._call("cuDeviceGet", ctypes.byref(device), 0)
        except DriverError as error:
            raise RoofgateError(f"no GPU here: {error}; check nvidia-smi") from error
        self._device = device

    def describe(self) -> Device:
        """Name and versions; needs no context."""
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, len(name), self._device)
        values = [ctypes.c_int() for _ in range(3)]
        self._call("cuDeviceGetAttribute", ctypes.byref(values[0]), _MAJOR, self._device)
        self._call("cuDeviceGetAttribute", ctypes.byref(values[1]), _MINOR, self._device)
        self._call("cuDriverGetVersion", ctypes.byref(values[2]))
        return Device(name.value.decode(), (values[0].value, values[1].value), values[2].value)

    def open(self) -> None:
        """Make the GPU's primary context current in this thread."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def load(self, ptx: str, entry: str) -> ctypes.c_void_p:
        """The kernel of a module, compiled by the driver; the error holds the compiler's words."""
        log = ctypes.create_string_buffer(8192)
        options = (ctypes.c_int * 2)(_ERROR_LOG, _ERROR_LOG_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.cast(log, ctypes.c_void_p), ctypes.c_void_p(len(log)))
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            self._call("cuModuleLoadDataEx", ctypes.byref(module), ptx.encode(), 2, options, values)
        except DriverError as error:
            words = log.value.decode(errors="replace").strip()
            raise DriverError(f"{error}: {words}" if words else str(error)) from error
        self._call("cuModuleGetFunction", ctypes.byref(function), module, entry.encode())
        return function

    def place(self, content: bytes | Bytes) -> int:
        """Address of a new array with this content, aligned to 256 bytes; it lives as long as the process."""
        data = np.frombuffer(content, np.uint8)
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(data.nbytes, 1)))
        self._call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(data.ctypes.data), ctypes.c_size_t(data.nbytes))
        return address.value

    def fetch(self, address: int, size: int) -> bytes:
        """So many bytes from an address."""
        data = np.zeros(size, np.uint8)
        self._call(
            "cuMemcpyDtoH_v2", ctypes.c_void_p(data.ctypes.data), ctypes.c_uint64(address), ctypes.c_size_t(size)
        )
        return data.tobytes()

    def encode(self, tensor: Tensor, address: int) -> bytes:
        """The 128 bytes of a tensor map."""
        room = ctypes.create_string_buffer(_MAP_BYTES + _MAP_ALIGNMENT)
        place = -(-ctypes.addressof(room) // _MAP_ALIGNMENT) * _MAP_ALIGNMENT
        rank = len(tensor.dimensions)
        steps = tensor.element_strides or (1,) * rank
        self._call(
            "cuTensorMapEncodeTiled",
            ctypes.c_void_p(place),
            _TYPES[tensor.type_name],
            ctypes.c_uint(rank),
            ctypes.c_void_p(address),
            (ctypes.c_uint64 * rank)(*tensor.dimensions),
            (ctypes.c_uint64 * rank)(*tensor.strides),
            (ctypes.c_uint32 * rank)(*tensor.box),
            (ctypes.c_uint32 * rank)(*steps),
            0,  # not interleaved
            _SWIZZLES[tensor.swizzle],
            0,  # no promotion to the L2 cache
            int(tensor.fill_nan),
        )
        return ctypes.string_at(place, _MAP_BYTES)

    def launch(
        self, function: ctypes.c_void_p, *, blocks: int, block: int, cluster: int, parameters: Sequence[bytes]
    ) -> None:
        """Run a kernel to its end. An error ends the context, as nobody knows what is left of it."""
        buffers = [_aligned_copy(parameter) for parameter in parameters]
        pointers = (ctypes.c_void_p * len(buffers))(*(place for _, place in buffers))
        attribute = _Attribute(id=_CLUSTER_DIMENSION, cluster=(ctypes.c_uint * 3)(cluster, 1, 1))
        configuration = _Configuration(
            grid=(ctypes.c_uint * 3)(blocks, 1, 1),
            block=(ctypes.c_uint * 3)(block, 1, 1),
            attributes=ctypes.pointer(attribute),
            attribute_count=int(cluster > 1),
        )
        try:
            self._call("cuLaunchKernelEx", ctypes.byref(configuration), function, pointers, None)
            self._call("cuCtxSynchronize")
        except DriverError as error:
            raise DriverError(str(error), ends_context=True) from error

    def _call(self, name: str, *arguments: object) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise DriverError(f"this driver has no {name}: it is older than CUDA 12") from None
        code = function(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise DriverError(f"{name}: {(text.value or b'unknown error').decode()} ({code})")


def _aligned_copy(content: bytes) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """A buffer with the content at a multiple of 64, and that address."""
    room = ctypes.create_string_buffer(len(content) + _MAP_ALIGNMENT)
    place = -(-ctypes.addressof(room) // _MAP_ALIGNMENT) * _MAP_ALIGNMENT
    ctypes.memmove(place, content, len(content))
    return room, place
