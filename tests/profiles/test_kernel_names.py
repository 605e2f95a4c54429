"""Entry symbols to names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles import kernel_names as module
from profiles.kernel_names import kernel_name, kernel_names

SYMBOL = "_ZN8roofgate18attention_fwd_sm80INS_16AttentionForwardINS_3ptx4{}EEEEvNS_25AttentionForwardArgumentsE"
BF16_WINDOW = SYMBOL.format("Bf16ELi64ELNS_8MaskKindE1E")
FP16_FULL = SYMBOL.format("Fp16ELi128ELNS_8MaskKindE0E")
ANONYMOUS = (
    "_ZN8roofgate36_GLOBAL__N__95b66461_4_a_cu_e403e57920attention_fwd_kernel"
    "INS_16AttentionForwardINS_3ptx4Bf16ELi64ELNS_8MaskKindE1EEEEEvNS_1PE"
)


@pytest.mark.parametrize(
    ("demangled", "name"),
    [
        (
            "void roofgate::attention_fwd_sm80<roofgate::AttentionForward<ptx::Bf16, 64, (roofgate::MaskKind)1> >(A)",
            "attention_fwd<bf16, 64, window>",
        ),
        (
            "void attention_bwd_sm80<roofgate::AttentionBackward<ptx::Fp16, 128, roofgate::MaskKind::kPlan> >(A)",
            "attention_bwd<fp16, 128, plan>",
        ),
        ("void roofgate::attention_bwd_delta_sm80<roofgate::ptx::Bf16, 64>(A)", "attention_bwd_delta<bf16, 64>"),
        ("void roofgate::attention_bwd_dq_sm80<roofgate::ptx::Fp16, 128>(A)", "attention_bwd_dq<fp16, 128>"),
        ("void attention_fwd_sm90a<__half, 128, (MaskKind)0>(A<float>)", "attention_fwd<fp16, 128, full>"),
        ("void attention_fwd_kernel<__nv_bfloat16, 64u, (MaskKind)3>(A)", "attention_fwd<bf16, 64, any>"),
        # As Nsight Compute writes them, with --import and in the report file.
        (
            "void attention_fwd_sm80<AttentionForward<Bf16, 64, 0>>(AttentionForwardArguments)",
            "attention_fwd<bf16, 64, full>",
        ),
        (
            "void attention_bwd_sm80<AttentionBackward<Fp16, (int)128, (MaskKind)2>>(A)",
            "attention_bwd<fp16, 128, plan>",
        ),
        ("roofgate::ceiling_copy(uint4*, uint4 const*, long)", "ceiling_copy"),
        ("void roofgate::ceiling_flops_kernel<float>(float*)", "ceiling_flops<fp32>"),
        ("void flag<true>(int)", "flag<true>"),
        ("void mode<(roofgate::Mode)2, (anonymous namespace)::Tile<16> >(int)", "mode<2, 16>"),
        ("roofgate::(anonymous namespace)::hidden(int)", "hidden"),
        ("extern_c_kernel", "extern_c"),
    ],
)
def test_names_say_what_a_kernel_computes(demangled: str, name: str) -> None:
    """Namespaces, parameters and the architecture suffix go; the innermost template arguments stay."""
    assert kernel_name(demangled) == name


def test_names_come_from_the_symbols_themselves() -> None:
    """The demangler and the naming fit together, with an anonymous namespace and an unmangled name too."""
    assert kernel_names([BF16_WINDOW, FP16_FULL, "plain"]) == {
        BF16_WINDOW: "attention_fwd<bf16, 64, window>",
        FP16_FULL: "attention_fwd<fp16, 128, full>",
        "plain": "plain",
    }
    assert kernel_names([ANONYMOUS]) == {ANONYMOUS: "attention_fwd<bf16, 64, window>"}


def test_kernels_that_would_share_a_name_keep_their_own() -> None:
    """Two kernels are never shown as one."""
    names = kernel_names([BF16_WINDOW, ANONYMOUS])
    assert names[BF16_WINDOW].startswith("roofgate::attention_fwd_sm80<")
    assert names[ANONYMOUS].startswith("roofgate::attention_fwd_kernel<")


def test_no_kernels_have_no_names() -> None:
    """An empty library is no error."""
    assert kernel_names([]) == {}


def test_a_missing_demangler_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setattr(module, "DEMANGLER", "no-such-demangler")
    with pytest.raises(RoofgateError, match="no-such-demangler is not on PATH; install binutils"):
        kernel_names([BF16_WINDOW])


@given(st.text())
def test_any_text_has_a_name(text: str) -> None:
    """Naming never fails: a symbol that nobody foresaw is shown somehow."""
    assert isinstance(kernel_name(text), str)
