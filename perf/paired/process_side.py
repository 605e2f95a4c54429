"""The process of one side: a program, not a module. It uses only what every revision with an op has: ``kernels.ops``.

Run with a revision's checkout on the path and the arguments of :mod:`perf.paired.process_sides` as JSON. It prints
"ready", then answers each number of calls on its standard input with the seconds that they took.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from kernels import ops

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def main() -> None:
    """Serve until the input ends."""
    arguments = json.loads(sys.argv[1])
    case, device = arguments["case"], arguments["device"]
    torch.set_num_threads(arguments["threads"])
    generator = torch.Generator(device).manual_seed(0)
    q_shape = (case["batch"], case["heads_q"], case["seqlen_q"], case["head_dim"])
    k_shape = (case["batch"], case["heads_kv"], case["seqlen_k"], case["head_dim"])
    q, k, v = (
        torch.randn(shape, generator=generator, device=device, dtype=_DTYPES[case["dtype"]])
        for shape in (q_shape, k_shape, k_shape)
    )
    ops.attention(q, k, v, causal=case["mask"] == "causal")
    print("ready", flush=True)
    for line in sys.stdin:
        _synchronize(device)
        started = time.perf_counter()
        for _ in range(int(line)):
            ops.attention(q, k, v, causal=case["mask"] == "causal")
        _synchronize(device)
        print(time.perf_counter() - started, flush=True)


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
