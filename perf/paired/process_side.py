"""The process of one side: a program, not a module. It uses only what every revision with an op has: ``kernels.ops``.

Run with a revision's checkout on the path and the arguments of :mod:`perf.paired.process_sides` as JSON. It prints
"ready", then answers each number of calls on its standard input with the seconds that they took. A backward case is a
gradient by torch's autograd of the op. Beside full and causal masks it takes windows, where the revision's op has them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from kernels import ops

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def main() -> None:
    """Serve until the input ends."""
    arguments = json.loads(sys.argv[1])
    device = arguments["device"]
    torch.set_num_threads(arguments["threads"])
    call = _call(arguments["case"], device)
    call()
    print("ready", flush=True)
    for line in sys.stdin:
        _synchronize(device)
        started = time.perf_counter()
        for _ in range(int(line)):
            call()
        _synchronize(device)
        print(time.perf_counter() - started, flush=True)


def _call(case: Mapping[str, Any], device: str) -> Callable[[], object]:
    options = _options(case)
    generator = torch.Generator(device).manual_seed(0)
    q_shape = (case["batch"], case["heads_q"], case["seqlen_q"], case["head_dim"])
    k_shape = (case["batch"], case["heads_kv"], case["seqlen_k"], case["head_dim"])
    q, k, v, d_o = (
        torch.randn(shape, generator=generator, device=device, dtype=_DTYPES[case["dtype"]])
        for shape in (q_shape, k_shape, k_shape, q_shape)
    )
    if case.get("operation") != "attention_bwd":
        return partial(ops.attention, q, k, v, **options)
    leaves = [tensor.requires_grad_() for tensor in (q, k, v)]
    o = ops.attention(*leaves, **options)
    return partial(torch.autograd.grad, o, leaves, d_o, retain_graph=True)


def _options(case: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the op; ends the process with a reason for a case that cannot be compared in this way."""
    mask = case["mask"]
    if case.get("varlen") or not (mask in ("full", "causal") or mask.startswith("window")):
        sys.exit(f"mask {mask}{' of sequences' if case.get('varlen') else ''} is not compared by processes")
    if case.get("alibi"):
        sys.exit("ALiBi is not compared by processes")
    options: dict[str, Any] = {"softcap": case["softcap"]} if case.get("softcap") else {}
    if mask.startswith("window"):
        return {**options, "window": (int(mask.removeprefix("window")), 0)}
    return {**options, "causal": mask == "causal"}


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
