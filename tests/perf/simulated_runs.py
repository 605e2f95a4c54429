"""Runs with known truth: noise as a shared two-core machine has it, and a slow-down planted on purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perf.model import FULL, OWN_IMPLEMENTATION, Case, Commit, Device, DType, Machine, Measurement, Operation, Run

# Seconds per call of each implementation on every case, before noise.
BASE_S = {OWN_IMPLEMENTATION: 4e-3, "torch_flash": 16e-3, "torch_math": 120e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviations of the natural logarithm of time."""

    between_runs: float = 0.15  # the whole machine, from run to run
    wander: float = 0.05  # the whole machine, within a run, from round to round with memory
    memory: float = 0.9  # autocorrelation of the wander at lag one
    process: float = 0.015  # one implementation on one case, fixed within a process (memory layout)
    jitter: float = 0.02  # one sample
    spikes: float = 0.02  # share of samples that another tenant stretches by up to three times


def simulated_case(index: int) -> Case:
    """Distinct cases."""
    length = 128 * (index + 1)
    return Case(
        operation=Operation.ATTENTION_FWD,
        dtype=DType.BF16 if index % 2 else DType.FP32,
        batch=1,
        heads_q=8,
        heads_kv=8,
        seqlen_q=length,
        seqlen_k=length,
        head_dim=64,
        mask=FULL,
    )


def simulated_machine() -> Machine:
    """An invented host without a GPU."""
    return Machine(
        cpu_model="Invented CPU 9000",
        cpu_count=2,
        instruction_sets=("avx2", "avx512f", "avx512_bf16"),
        memory_bytes=16 << 30,
        system="Linux 6.1 (invented)",
        python="3.11.9",
        torch="2.13.0",
        threads=2,
        compiler="c++ 12.2.0",
    )


def simulated_commit(tree: str = "aaaaaaaaaaaaaaaa") -> Commit:
    """An invented commit."""
    return Commit(
        id="0123456789abcdef0123456789abcdef01234567",
        tree=tree,
        subject="invented",
        branch="main",
        dirty=False,
        time="2026-01-05T10:12:00+00:00",
    )


def simulated_run(
    generator: np.random.Generator,
    *,
    cases: int = 8,
    rounds: int = 30,
    slower: float = 1.0,
    fingerprint: str = "candidate",
    noise: Noise | None = None,
) -> Run:
    """One process that measures ``cases`` cases, with our kernel ``slower`` times its true time."""
    noise = noise or Noise()
    machine_log = generator.normal(0, noise.between_runs)
    measurements: list[Measurement] = []
    for index in range(cases):
        wander = _wander(generator, rounds, noise)
        for implementation, base_s in BASE_S.items():
            own = implementation == OWN_IMPLEMENTATION
            logs = machine_log + wander + generator.normal(0, noise.process) + generator.normal(0, noise.jitter, rounds)
            spikes = np.where(generator.random(rounds) < noise.spikes, 1 + 2 * generator.random(rounds), 1.0)
            seconds = base_s * (slower if own else 1.0) * (index + 1) * np.exp(logs) * spikes
            measurements.append(
                Measurement(
                    case=simulated_case(index),
                    device=Device.CPU,
                    target="cpu",
                    implementation=implementation,
                    samples_s=tuple(float(value) for value in seconds),
                    iterations=1,
                    library_fingerprint=fingerprint if own else "",
                    isa="avx512_bf16" if own else "",
                )
            )
    return Run(
        id=f"20260105T101500Z-{fingerprint}-smoke",
        started="2026-01-05T10:15:00+00:00",
        suite="smoke",
        commit=simulated_commit(),
        machine=simulated_machine(),
        ceilings=(),
        measurements=tuple(measurements),
    )


def without_peer(run: Run, peer: str) -> Run:
    """``run`` as if ``peer`` had not been measured."""
    return replace(run, measurements=tuple(item for item in run.measurements if item.implementation != peer))


def _wander(generator: np.random.Generator, rounds: int, noise: Noise) -> np.ndarray:
    """First-order autoregressive noise that all implementations of a round share."""
    steps = generator.normal(0, noise.wander * np.sqrt(1 - noise.memory**2), rounds)
    values = np.empty(rounds)
    last = generator.normal(0, noise.wander)
    for index, step in enumerate(steps):
        last = values[index] = noise.memory * last + step
    return values
