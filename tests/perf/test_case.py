"""A case has one name, and a name is one case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.case import case_fields, case_from_fields, parse_case, parse_mask
from perf.model import CAUSAL, FULL, Case, DType, Mask, MaskKind, Operation

SIZE = st.integers(1, 1 << 20)
MASKS = st.one_of(
    st.sampled_from([FULL, CAUSAL]),
    st.builds(Mask, st.sampled_from([MaskKind.WINDOW, MaskKind.PREFIX, MaskKind.DOCUMENT]), SIZE),
    st.builds(Mask, st.just(MaskKind.BLOCKS), st.integers(1, 100)),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any case."""
    mask = draw(MASKS)
    return Case(
        operation=draw(st.sampled_from(Operation)),
        dtype=draw(st.sampled_from(DType)),
        batch=draw(SIZE),
        heads_q=8,
        heads_kv=draw(st.sampled_from([1, 2, 4, 8])),
        seqlen_q=draw(SIZE),
        seqlen_k=draw(SIZE),
        head_dim=draw(SIZE),
        mask=mask,
        varlen=not mask.is_planned and draw(st.booleans()),
        softcap=draw(st.just(0.0) | st.floats(0, 1e9)),
        alibi=draw(st.booleans()),
    )


@given(cases())
def test_a_name_says_everything(case: Case) -> None:
    """So that two cases never share one; and it fits a file name."""
    assert parse_case(case.name) == case
    assert set(case.name) <= set("abcdefghijklmnopqrstuvwxyz_0123456789-.+")


@given(cases())
def test_fields_come_back(case: Case) -> None:
    """As JSON keeps them."""
    assert case_from_fields(case_fields(case)) == case


@pytest.mark.parametrize(("causal", "mask"), [(True, CAUSAL), (False, FULL)])
def test_fields_of_two_masks_alone_are_understood(causal: bool, mask: Mask) -> None:
    """Files of before there were others say ``causal``."""
    case = parse_case("attention_fwd-bf16-1x8x128x64-full")
    older = {name: value for name, value in case_fields(case).items() if name not in ("mask", "varlen", "alibi")}

    assert case_from_fields({**older, "causal": causal}).mask == mask


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is no case; expected OPERATION-DTYPE-"),
        ("attention_fwd-bf16-1x8x128x64", "is no case; expected OPERATION-DTYPE-"),
        ("attention_fwd-bf16-1x8x128x64-causal-alibi-varlen", "is no case; expected OPERATION-DTYPE-"),
        ("attention-bf16-1x8x128x64-full", "'attention' is not a valid Operation"),
        ("attention_fwd-bf8-1x8x128x64-full", "'bf8' is no type"),
        ("attention_fwd-bf16-1x8kv3x128x64-full", "heads_q is 8, which is no multiple of heads_kv 3"),
        ("attention_fwd-bf16-1x8x0x64-full", "seqlen_q is 0"),
        ("attention_fwd-bf16-1x8x128x64-window", "mask window needs a size of at least 1"),
        ("attention_fwd-bf16-1x8x128x64-causal64", "mask causal has no size, got 64"),
        ("attention_fwd-bf16-1x8x128x64-sparse101", "mask sparse takes a percentage, got 101"),
        ("attention_fwd-bf16-1x8x128x64-band64", "'band64' is no mask; expected full, causal, windowN"),
        ("attention_fwd-bf16-1x8x128x64-prefix64-varlen", "varlen and mask prefix64 exclude each other"),
        ("attention_fwd-bf16-1x8x128x64-full-softcap", "is no case; expected OPERATION-DTYPE-"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    """The message says what was wrong or what a name looks like."""
    with pytest.raises(ValueError, match="is no case") as caught:
        parse_case(name)

    assert reason in str(caught.value)


def test_masks_say_their_window() -> None:
    """As the kernels take it; a plan's mask has none."""
    windows = [parse_mask(name).window for name in ("full", "causal", "window256", "prefix128", "sparse90")]

    assert windows == [(-1, -1), (-1, 0), (256, 0), (-1, -1), (-1, -1)]
