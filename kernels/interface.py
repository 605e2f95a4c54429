"""The C interface of a built library in Python: ``csrc/roofgate_abi.h`` mirrored, and a library opened by its path.

Loads little, for the processes that time one library against another start by the dozen. Several libraries, of
different commits, can be open in one process at once.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_void_p
from enum import IntEnum
from pathlib import Path

from kernels.errors import RoofgateError

ABI_VERSION = 2


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
    AMX_BF16 = 5

    def serving(self, dtype: KernelDType) -> InstructionSet:
        """The one that AUTO takes for ``dtype`` where this is the best: products of bf16 alone serve bf16 alone."""
        is_for_others = self >= InstructionSet.AVX512_BF16 and dtype is not KernelDType.BF16
        return InstructionSet.AVX512 if is_for_others else self


class MaskPlanPointers(ctypes.Structure):
    """``struct roofgate_mask_plan``."""

    _fields_ = (
        ("tiles", c_void_p),
        ("tiles_stride", c_int64 * 2),
        ("query_bits", c_void_p),
        ("key_bits", c_void_p),
        ("query_order", c_void_p),
        ("key_order", c_void_p),
    )


class AttentionProblem(ctypes.Structure):
    """``struct roofgate_attention_problem``; see csrc/roofgate_abi.h for shapes and what masks mean."""

    _fields_ = (
        ("q", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("q_stride", c_int64 * 3),
        ("k_stride", c_int64 * 3),
        ("v_stride", c_int64 * 3),
        ("cu_seqlens_q", c_void_p),
        ("cu_seqlens_k", c_void_p),
        ("total_q", c_int64),
        ("alibi_slopes", c_void_p),
        ("alibi_batch_stride", c_int64),
        ("plan", MaskPlanPointers),
        ("batch", c_int32),
        ("heads_q", c_int32),
        ("heads_kv", c_int32),
        ("seqlen_q", c_int32),
        ("seqlen_k", c_int32),
        ("head_dim", c_int32),
        ("dtype", c_int32),
        ("window_left", c_int32),
        ("window_right", c_int32),
        ("scale", c_float),
        ("softcap", c_float),
        ("threads", c_int32),
        ("isa", c_int32),
    )


class AttentionFwdParams(ctypes.Structure):
    """``struct roofgate_attention_fwd_params``."""

    _fields_ = (("problem", AttentionProblem), ("o", c_void_p), ("o_stride", c_int64 * 3), ("lse", c_void_p))


class AttentionBwdParams(ctypes.Structure):
    """``struct roofgate_attention_bwd_params``."""

    _fields_ = (
        ("problem", AttentionProblem),
        ("o", c_void_p),
        ("d_o", c_void_p),
        ("lse", c_void_p),
        ("dq", c_void_p),
        ("dk", c_void_p),
        ("dv", c_void_p),
        ("o_stride", c_int64 * 3),
        ("d_o_stride", c_int64 * 3),
        ("dq_stride", c_int64 * 3),
        ("dk_stride", c_int64 * 3),
        ("dv_stride", c_int64 * 3),
        ("workspace", c_void_p),
        ("workspace_bytes", c_int64),
        ("deterministic", c_int32),
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


_FUNCTIONS = ("roofgate_attention_fwd", "roofgate_attention_bwd", "roofgate_ceiling_copy", "roofgate_ceiling_flops")


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
            # Before the functions, which a library of another version may lack.
            if version != ABI_VERSION:
                raise RoofgateError(f"{path}: interface version {version}, expected {ABI_VERSION}; run: nox -s build")
            for name in _FUNCTIONS:
                getattr(self._handle, name).argtypes = (c_void_p, c_void_p)
        except (OSError, AttributeError) as error:
            raise RoofgateError(f"{path}: cannot be opened ({error}); run: nox -s build") from error
        self._handle.roofgate_status_text.restype = c_char_p
        self._handle.roofgate_status_text.argtypes = (c_int,)

    def attention_fwd(self, params: AttentionFwdParams, stream: int = 0) -> None:
        """Run the kernel on host or device memory; raises :class:`KernelError` if it refuses."""
        self._call("roofgate_attention_fwd", params, stream)

    def attention_bwd(self, params: AttentionBwdParams, stream: int = 0) -> None:
        """Run the kernels of the backward pass on memory of the host or device; raises :class:`KernelError`.

        With a null ``workspace`` nothing runs: ``params.workspace_bytes`` becomes what the call needs.
        """
        self._call("roofgate_attention_bwd", params, stream)

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
