"""PTX that probes of asynchronous copies share: a barrier behind the buffer, and waits that end in any case."""

from __future__ import annotations

from collections.abc import Iterator

_TRIES = 20000  # a barrier that never completes must not hang a GPU


def first_thread() -> Iterator[str]:
    """Declares %first (thread 0 of the block) and %place, and lets copies see what was stored before."""
    yield ".reg .pred %first;"
    yield ".reg .b32 %place;"
    yield "setp.eq.u32 %first, %lane, 0;"
    yield "fence.proxy.async;"
    yield "bar.sync 0;"


def barrier_setup(place: int, transaction_bytes: int, *, cluster: bool = False) -> Iterator[str]:
    """A barrier at this byte of the buffer, of one arrival, which has happened, and so many bytes to come."""
    yield ".reg .b32 %barrier;"
    yield f"add.u32 %barrier, %buffer, {place};"
    yield ".reg .pred %first;"
    yield ".reg .b32 %place;"
    yield "setp.eq.u32 %first, %lane, 0;"
    yield "@%first mbarrier.init.shared::cta.b64 [%barrier], 1;"
    yield "fence.mbarrier_init.release.cluster;"
    yield "fence.proxy.async;"
    yield "bar.sync 0;"
    yield f"@%first mbarrier.arrive.expect_tx.shared::cta.b64 _, [%barrier], {transaction_bytes};"
    if cluster:
        yield "barrier.cluster.arrive;"
        yield "barrier.cluster.wait;"


def load_barrier_wait() -> Iterator[str]:
    """Wait for the barrier's first phase; %d0 says whether it was completed."""
    yield ".reg .b32 %tries;"
    yield ".reg .pred %enough;"
    yield "mov.u32 %tries, 0;"
    yield "wait_again:"
    yield "mbarrier.try_wait.parity.shared::cta.b64 %d0, [%barrier], 0;"
    yield "@%d0 bra wait_done;"
    yield "add.u32 %tries, %tries, 1;"
    yield f"setp.ge.u32 %enough, %tries, {_TRIES};"
    yield "@!%enough bra wait_again;"
    yield "wait_done:"


def copy_wait() -> Iterator[str]:
    """Commit and wait until all stores of this thread are visible."""
    yield "cp.async.bulk.commit_group;"
    yield "cp.async.bulk.wait_group 0;"
