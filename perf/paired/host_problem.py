"""The buffers of one attention problem in host memory, filled without torch, and the C structure that points to them.

q, k, v and, backward, the gradient of o hold the same normal values, so every query has a key much like itself and the
answers are of the order of 1, where a tolerance tells right from wrong. Of independent values, thousands of keys would
average to nearly 0.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import random

from kernels.errors import RoofgateError
from kernels.interface import AttentionBwdParams, AttentionFwdParams, AttentionProblem, KernelDType, Library
from perf.model import Case, DType, Operation

_KERNEL_DTYPES = {DType.BF16: KernelDType.BF16, DType.FP32: KernelDType.FP32}
# Normal values are drawn once and repeated: a restart may not spend its time on random numbers.
DISTINCT_VALUES = 16 * 1024
_CACHE_LINE_BYTES = 64
_WORKSPACE_ALIGNMENT_BYTES = 256
_LSE_BYTES = 4


class Problem:
    """One case; the libraries that are timed on it share its buffers.

    ``params`` are those of the case's operation. A backward problem needs :meth:`prepare` before its first call.
    """

    def __init__(self, case: Case, threads: int, generator: random.Random) -> None:
        if case.dtype not in _KERNEL_DTYPES:
            raise RoofgateError(f"{case.dtype.key} has no host kernel; expected bf16 or fp32")
        self.case = case
        self._generator = generator
        attention = AttentionProblem(
            batch=case.batch,
            heads_q=case.heads_q,
            heads_kv=case.heads_kv,
            seqlen_q=case.seqlen_q,
            seqlen_k=case.seqlen_k,
            head_dim=case.head_dim,
            dtype=_KERNEL_DTYPES[case.dtype],
            scale=case.head_dim**-0.5,
            softcap=case.softcap,
            threads=threads,
        )
        attention.window_left, attention.window_right = case.mask.window
        self._kept_alive: list[object] = []
        positions = (case.batch * case.seqlen_q, case.batch * case.seqlen_k)
        if case.varlen or case.alibi or case.mask.is_planned:
            positions = self._apply_mask(attention, positions)
        self.is_prepared = case.operation is Operation.ATTENTION_FWD
        self._sizes = {"q": case.heads_q * positions[0], "k": case.heads_kv * positions[1]}
        values = normal_bytes(case.dtype, generator)
        self.forward_params = AttentionFwdParams(problem=attention)
        for name in ("q", "k", "v"):
            self._place(self.forward_params.problem, name, "k" if name == "v" else name, values)
        o = self._place(self.forward_params, "o", "q", values)
        lse = self._buffer(self._sizes["q"] * _LSE_BYTES, bytes(mmap.PAGESIZE))
        self.forward_params.lse = address(lse)
        self.params: AttentionFwdParams | AttentionBwdParams = self.forward_params
        self.outputs: tuple[memoryview, ...] = (o,)
        if case.operation is Operation.ATTENTION_BWD:
            self._add_gradients(values)

    @property
    def threads(self) -> int:
        """That the kernels may use."""
        return int(self.params.problem.threads)

    def prepare(self, library: Library) -> None:
        """What a call needs beforehand: backward, O and its log-sum-exp once, and memory for the library."""
        if not isinstance(self.params, AttentionBwdParams):
            return
        if not self.is_prepared:
            library.attention_fwd(self.forward_params)
            self.is_prepared = True
        asked = AttentionBwdParams.from_buffer_copy(self.params)
        asked.workspace, asked.workspace_bytes = None, 0
        library.attention_bwd(asked)
        if asked.workspace_bytes > self.params.workspace_bytes:
            memory = self._buffer(asked.workspace_bytes + _WORKSPACE_ALIGNMENT_BYTES, bytes(mmap.PAGESIZE))
            self.params.workspace = address(memory) + -address(memory) % _WORKSPACE_ALIGNMENT_BYTES
            self.params.workspace_bytes = asked.workspace_bytes

    def call(self, library: Library) -> None:
        """Run the operation of the case once; raises :class:`kernels.interface.KernelError` if the library refuses."""
        if isinstance(self.params, AttentionBwdParams):
            library.attention_bwd(self.params)
        else:
            library.attention_fwd(self.params)

    def params_of_batch(self, batch: int) -> AttentionFwdParams:
        """The same forward problem with the first ``batch`` entries of its batch alone."""
        params = AttentionFwdParams.from_buffer_copy(self.forward_params)
        params.problem.batch = batch
        params.kept_alive = self  # the structure itself holds addresses alone
        return params

    def _apply_mask(self, attention: AttentionProblem, positions: tuple[int, int]) -> tuple[int, int]:
        """Masks that need memory; returns the positions of queries and keys that there are."""
        # Not above: only these cases pay for the start of numpy, a tenth of a second of every restart.
        from perf.irregular import sequence_lengths
        from perf.paired.host_masks import apply_mask

        self._kept_alive.append(apply_mask(self.case, attention))
        if not self.case.varlen:
            return positions
        of_q, of_k = (sum(lengths) for lengths in zip(*sequence_lengths(self.case), strict=True))
        return of_q, of_k

    def _add_gradients(self, values: bytes) -> None:
        forward = self.forward_params
        self.params = AttentionBwdParams(problem=forward.problem, o=forward.o, lse=forward.lse)
        self.params.o_stride = forward.o_stride
        self._place(self.params, "d_o", "q", values)
        shapes = {"dq": "q", "dk": "k", "dv": "k"}
        self.outputs = tuple(self._place(self.params, name, like, values) for name, like in shapes.items())

    def _place(self, structure: ctypes.Structure, name: str, like: str, values: bytes) -> memoryview:
        """Memory of a tensor like q or k, contiguous, and its address and strides in ``structure``."""
        case = self.case
        memory = self._buffer(self._sizes[like] * case.head_dim * case.dtype.size_bytes, values)
        heads, seqlen = (case.heads_q, case.seqlen_q) if like == "q" else (case.heads_kv, case.seqlen_k)
        strides = (heads * seqlen * case.head_dim, seqlen * case.head_dim, case.head_dim)
        if case.varlen:
            strides = (0, case.head_dim, heads * case.head_dim)
        setattr(structure, name, address(memory))
        setattr(structure, f"{name}_stride", (ctypes.c_int64 * 3)(*strides))
        return memory

    def _buffer(self, size: int, values: bytes) -> memoryview:
        memory = buffer(size, values, self._generator)
        self._kept_alive.append(memory)
        return memory


def normal_bytes(dtype: DType, generator: random.Random) -> bytes:
    """Normal values in the type, bf16 or fp32."""
    values = array.array("f", [generator.gauss(0.0, 1.0) for _ in range(DISTINCT_VALUES)])
    if dtype is DType.FP32:
        return values.tobytes()
    # The upper half of a float32 is its bf16, rounded towards zero. The host kernels are for little-endian processors.
    return array.array("H", values.tobytes())[1::2].tobytes()


def buffer(size: int, values: bytes, generator: random.Random) -> memoryview:
    """``size`` bytes of memory of their own at a random cache line of a page, filled with ``values`` repeated."""
    offset = generator.randrange(mmap.PAGESIZE // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES
    memory = memoryview(mmap.mmap(-1, offset + max(size, 1)))[offset : offset + size]
    for start in range(0, size, len(values)):
        memory[start : start + len(values)] = values[: size - start]
    return memory


def address(memory: memoryview) -> int:
    """Where the memory starts; 0, a null pointer, if there is none."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)) if len(memory) else 0
