"""Open a built library and call it. Several, of different commits, can be open in one process at once."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_void_p
from enum import IntEnum
from functools import cache
from pathlib import Path

from kernels.build import HOST_LIBRARY, cuda_library_name
from kernels.build_record import DEFAULT_RECORD, BuildRecord, BuildStatus, read_record
from kernels.errors import RoofgateError
from kernels.sources import CUDA_ARCHITECTURES

ABI_VERSION = 1


class KernelDType(IntEnum):
    """``enum roofgate_dtype``."""

    BF16 = 0
    FP16 = 1
    FP32 = 2


class InstructionSet(IntEnum):
    """``enum roofgate_isa``: host instruction sets."""

    AUTO = 0
    PORTABLE = 1
    AVX2 = 2
    AVX512 = 3
    AVX512_BF16 = 4


class AttentionFwdParams(ctypes.Structure):
    """``struct roofgate_attention_fwd_params``; see csrc/roofgate_abi.h for shapes."""

    _fields_ = (
        ("q", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("o", c_void_p),
        ("lse", c_void_p),
        ("q_stride", c_int64 * 3),
        ("k_stride", c_int64 * 3),
        ("v_stride", c_int64 * 3),
        ("o_stride", c_int64 * 3),
        ("batch", c_int32),
        ("heads_q", c_int32),
        ("heads_kv", c_int32),
        ("seqlen_q", c_int32),
        ("seqlen_k", c_int32),
        ("head_dim", c_int32),
        ("dtype", c_int32),
        ("causal", c_int32),
        ("scale", c_float),
        ("threads", c_int32),
        ("isa", c_int32),
    )


class CeilingCopyParams(ctypes.Structure):
    """``struct roofgate_ceiling_copy_params``."""

    _fields_ = (("dst", c_void_p), ("src", c_void_p), ("bytes", c_int64), ("threads", c_int32))


class CeilingFlopsParams(ctypes.Structure):
    """``struct roofgate_ceiling_flops_params``."""

    _fields_ = (
        ("iterations", c_int64),
        ("dtype", c_int32),
        ("threads", c_int32),
        ("isa", c_int32),
        ("sink", c_void_p),
        ("flop", c_double),
    )


class KernelError(RoofgateError):
    """A kernel refused its arguments or failed to launch."""

    def __init__(self, function: str, status: int, text: str) -> None:
        super().__init__(f"{function} failed with status {status}: {text}")
        self.status = status


class Library:
    """One opened library.

    Args:
        path: a shared library that :mod:`kernels.build` made.
        fingerprint: of its machine code, from the build record.

    Raises:
        RoofgateError: the file cannot be opened or speaks another version of the interface.
    """

    def __init__(self, path: Path, fingerprint: str = "") -> None:
        self.path = path
        self.fingerprint = fingerprint
        try:
            self._handle = ctypes.CDLL(str(path.resolve()))
            version = self._handle.roofgate_abi_version()
            for name in ("roofgate_attention_fwd", "roofgate_ceiling_copy", "roofgate_ceiling_flops"):
                getattr(self._handle, name).argtypes = (c_void_p, c_void_p)
        except (OSError, AttributeError) as error:
            raise RoofgateError(f"{path}: cannot be opened ({error}); run: nox -s build") from error
        if version != ABI_VERSION:
            raise RoofgateError(f"{path}: interface version {version}, expected {ABI_VERSION}; run: nox -s build")
        self._handle.roofgate_status_text.restype = c_char_p
        self._handle.roofgate_status_text.argtypes = (c_int,)

    def attention_fwd(self, params: AttentionFwdParams, stream: int = 0) -> None:
        """Run the kernel on host or device memory; raises :class:`KernelError` if it refuses."""
        self._call("roofgate_attention_fwd", params, stream)

    def ceiling_copy(self, params: CeilingCopyParams, stream: int = 0) -> None:
        """Copy ``params.bytes``; raises :class:`KernelError` on failure."""
        self._call("roofgate_ceiling_copy", params, stream)

    def ceiling_flops(self, params: CeilingFlopsParams, stream: int = 0) -> float:
        """Run the register-only kernel and return the FLOP it executed; raises :class:`KernelError` on failure."""
        self._call("roofgate_ceiling_flops", params, stream)
        return float(params.flop)

    def best_isa(self) -> InstructionSet:
        """The instruction set that AUTO means on this processor. Host library only."""
        return InstructionSet(self._handle.roofgate_best_isa())

    def _call(self, function: str, params: ctypes.Structure, stream: int) -> None:
        status = getattr(self._handle, function)(ctypes.byref(params), stream)
        if status:
            raise KernelError(function, status, self._handle.roofgate_status_text(status).decode())


@cache
def open_library(name: str, record_path: Path = DEFAULT_RECORD) -> Library:
    """Open the present build's library of this name; raises :class:`RoofgateError` if it was not built."""
    return open_built(read_record(record_path), name)


def open_built(record: BuildRecord, name: str) -> Library:
    """Open the library called ``name`` of a build record; raises :class:`RoofgateError` if it was not built."""
    built = record.library(name)
    if built.status is not BuildStatus.BUILT:
        # The compiler's whole answer can be thousands of lines; the build printed it and the report shows it.
        first_line = built.reason.partition("\n")[0]
        raise RoofgateError(f"library {name!r} is not built ({first_line}); run: nox -s build")
    return Library(Path(built.library), built.fingerprint)


def host_library() -> Library:
    """The host library of the present build."""
    return open_library(HOST_LIBRARY)


def cuda_library(major: int, minor: int) -> Library:
    """The CUDA library for a GPU of this compute capability.

    A capability that no library was built for gets the one that ships PTX, which the driver compiles for it.
    Raises :class:`RoofgateError` for GPUs older than every architecture built.
    """
    exact = [known for known in CUDA_ARCHITECTURES if known.number == 10 * major + minor]
    general = [known for known in CUDA_ARCHITECTURES if known.keeps_ptx and known.number <= 10 * major + minor]
    for known in exact + general:
        return open_library(cuda_library_name(known.name))
    oldest = min(known.number for known in CUDA_ARCHITECTURES)
    raise RoofgateError(
        f"compute capability {major}.{minor} is too old; the CUDA kernels need {oldest / 10:.1f} or later"
    )
