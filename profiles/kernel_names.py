"""Entry symbols in the words that people use for the kernels."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence

from kernels.errors import RoofgateError

DEMANGLER = "c++filt"  # of binutils, which every g++ comes with
DEMANGLE_TIMEOUT_S = 60

_SUFFIX = re.compile(r"(_kernel)?(_sm\d+[af]?)?(_kernel)?$")
_ANONYMOUS = "(anonymous namespace)::"
_CAST = re.compile(r"^\([^)]*\)")  # of an enumerator: "(roofgate::Mode)2"
_ENUMERATOR = re.compile(r"^k([A-Z])")  # of one that the demangler knows by name: "kWindow"
_TYPE_NAMES: Mapping[str, str] = {
    "__nv_bfloat16": "bf16",
    "__half": "fp16",
    "float": "fp32",
    "double": "fp64",
}
# enum class MaskKind of attention_mask.h. Demanglers write an enumerator as its number, and Nsight Compute without the
# cast before it.
_MASK_NAMES: Mapping[str, str] = {"0": "full", "1": "window", "2": "plan", "3": "any"}
_MASK_ARGUMENT = 2  # of AttentionForward and AttentionBackward: <Element, head_dim, MaskKind>


def kernel_names(entries: Sequence[str]) -> Mapping[str, str]:
    """Name of each kernel of one library, by entry symbol.

    ``attention_fwd_sm80<AttentionForward<ptx::Bf16, 64, (MaskKind)1>>`` is ``attention_fwd<bf16, 64, window>``: the
    name without what only says where it runs, and the innermost template arguments. Kernels that would share a name
    keep their whole function name.

    Raises :class:`RoofgateError` if there is no demangler.
    """
    demangled = dict(zip(entries, demangle(entries), strict=True))
    names = {entry: kernel_name(text) for entry, text in demangled.items()}
    uses = Counter(names.values())
    return {entry: name if uses[name] == 1 else _signature(demangled[entry]) for entry, name in names.items()}


def demangle(symbols: Sequence[str]) -> list[str]:
    """C++ declarations of ``symbols``; one that is no mangled name stays as it is.

    Raises :class:`RoofgateError` if there is no demangler.
    """
    path = shutil.which(DEMANGLER)
    if path is None:
        raise RoofgateError(f"{DEMANGLER} is not on PATH; install binutils (Debian and Ubuntu: apt-get install g++)")
    if not symbols:
        return []
    answer = subprocess.run(
        [path], input="\n".join(symbols), capture_output=True, text=True, check=True, timeout=DEMANGLE_TIMEOUT_S
    )
    return answer.stdout.splitlines()


def kernel_name(demangled: str) -> str:
    """Name of the kernel that ``demangled`` declares: ``ceiling_copy``, ``attention_fwd<fp16, 128, full>``."""
    function, _, arguments = _signature(demangled).partition("<")
    name = _SUFFIX.sub("", function.rpartition("::")[2])
    leaves = _leaves(arguments)
    if name.startswith("attention"):
        leaves[_MASK_ARGUMENT:] = [_MASK_NAMES.get(leaf, leaf) for leaf in leaves[_MASK_ARGUMENT:]]
    return f"{name}<{', '.join(leaves)}>" if leaves else name


def _signature(demangled: str) -> str:
    """``roofgate::kernel<...>`` out of ``void roofgate::kernel<...>(parameters)``."""
    text = demangled.replace(_ANONYMOUS, "").removeprefix("void ")
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            return text[:position]
    return text


def _leaves(arguments: str) -> list[str]:
    """The template arguments that are no templates themselves, in order, in lower case and without namespaces."""
    texts = re.findall(r"[^<>,]+(?=[>,]|$)", arguments)
    return [_leaf(text.strip()) for text in texts if text.strip()]


def _leaf(text: str) -> str:
    name = _CAST.sub("", text).rpartition("::")[2]
    if re.fullmatch(r"-?\d+u?l{0,2}", name):
        return name.rstrip("ul")
    return _TYPE_NAMES.get(name, _ENUMERATOR.sub(r"\1", name).lower())
