"""Probes of instructions that a thread executes on its own registers: several instructions on the same inputs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from profiles.simulator.probes.probe import LANES, Output, Probe, Tolerance, Words


def each(template: str, **choices: str) -> list[str]:
    """The template for every combination of the choices, which are words separated by spaces; "-" is an empty one."""
    columns = [["" if word == "-" else word for word in words.split()] for words in choices.values()]
    return [template.format(**dict(zip(choices, row, strict=True))) for row in itertools.product(*columns)]


def per_thread(
    name: str,
    target: str,
    inputs: Sequence[tuple[str, Words]],
    instructions: Sequence[str],
    tolerance: Tolerance | None = None,
) -> Probe:
    """A probe that executes every instruction on the same inputs, in blocks of one warp.

    Args:
        name: of the probe.
        target: architecture of the PTX.
        inputs: kind and words of %a0, %a1, ...
        instructions: such as "b32 pred: shfl.sync.up.b32 $0|$1, %a0, 1, 0, -1": the kinds of the outputs, then PTX in
            which $0 and $1 stand for them. Several statements are separated by semicolons.
        tolerance: of all results.
    """
    outputs: list[Output] = []
    statements: list[str] = []
    for instruction in instructions:
        kinds, text = instruction.split(": ", 1)
        opcode = text.split("$0")[0].split(";")[-1].strip()
        written = text
        for index, kind in enumerate(kinds.split()):
            written = written.replace(f"${index}", f"%d{len(outputs)}")
            outputs.append(Output(opcode if index == 0 else f"{opcode} ({index})", kind))
        statements.append("{ " + written + "; }")
    threads = len(inputs[0][1]) if inputs else LANES
    return Probe(
        name=name,
        target=target,
        statements="\n".join(statements),
        outputs=tuple(outputs),
        inputs=tuple(inputs),
        blocks=threads // LANES,
        tolerance=tolerance,
    )
