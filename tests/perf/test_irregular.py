"""What is random of a case is the same on every run, and distributed as it says."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean, median

import pytest

from perf.case import parse_case
from perf.irregular import document_lengths, kept_blocks, sequence_lengths
from perf.model import Case, DType, Operation


def named(name: str) -> Case:
    """The bf16 forward case of these shapes and mask."""
    return parse_case(f"attention_fwd-bf16-{name}")


def test_draws_do_not_change_between_versions() -> None:
    """Figures of two runs are compared by the name of the case, so that its lengths may never move."""
    assert [of_q for of_q, _ in sequence_lengths(named("4x8x2048x64-causal-varlen"))] == [790, 1443, 1079, 558]
    assert document_lengths(named("1x8x2048x64-document512")) == ((207, 383, 1458),)
    assert kept_blocks(named("1x8x1024x64-sparse50")).sum(axis=1).tolist() == [6, 3, 2, 4, 5, 4, 4, 4]


def test_type_heads_and_operation_share_the_draws() -> None:
    """A backward case and its forward case are the same problem."""
    case = named("4x8x2048x64-causal-varlen")
    other = replace(case, operation=Operation.ATTENTION_BWD, dtype=DType.FP32, heads_q=2, heads_kv=1, head_dim=128)

    assert sequence_lengths(other) == sequence_lengths(case)


def test_lengths_are_log_normal_up_to_the_greatest() -> None:
    """Median half the greatest length, a fifth cut short; never 0; queries and keys in proportion."""
    pairs = sequence_lengths(named("2000x8x1000k3000x64-full-varlen"))
    lengths = [of_q for of_q, _ in pairs]

    assert median(lengths) == pytest.approx(500, rel=0.08)
    assert 0.15 < lengths.count(1000) / 2000 < 0.24
    assert min(lengths) >= 1
    assert all(abs(of_k - 3 * of_q) <= 2 for of_q, of_k in pairs)


def test_documents_fill_the_keys_and_have_the_mean_of_the_mask() -> None:
    """Apart from the last, which the end cuts short."""
    entries = document_lengths(named("8x8x65536x64-document512"))
    lengths = [length for entry in entries for length in entry[:-1]]

    assert [sum(entry) for entry in entries] == [65536] * 8
    assert mean(lengths) == pytest.approx(512, rel=0.1)
    assert len(set(entries)) == 8


@pytest.mark.parametrize(("percent", "kept"), [(50, 128), (90, 26), (100, 16), (1, 253)])
def test_so_many_blocks_are_empty_and_the_diagonal_is_not(percent: int, kept: int) -> None:
    """Of 16 x 16 blocks; 100 % would leave queries without keys, so the diagonal stays."""
    blocks = kept_blocks(named(f"1x8x2048x64-sparse{percent}"))

    assert blocks.sum() == kept
    assert blocks.diagonal().all()
