"""The models that are timed, and the one whose loss curves are compared: sizes alone, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernels.errors import RoofgateError
from perf.model import Device
from perf.yaml_document import one_of

VOCABULARY = 256  # tokens are bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """A decoder. ``heads_q * head_dim`` need not equal ``width``."""

    layers: int
    width: int
    heads_q: int
    heads_kv: int
    head_dim: int
    hidden: int  # of the feed-forward network


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A model and the tokens of one step: ``batch`` sequences of ``seqlen``."""

    name: str
    description: str
    model: ModelSize
    batch: int
    seqlen: int


DEFAULT_SETTING = "attention-heavy"
# attention-heavy: attention grows with the square of the sequence's length, all else with its width. A width of half
# the heads' 512 channels leaves attention most of the step even at 2048 tokens, so that what a kernel gives can be told
# from noise, and an error of Amdahl's prediction has the least room to hide. balanced: the proportions of small
# language models (width = heads x head_dim, feed-forward about 8/3 of the width), where attention is a minor share.
# On a GPU matrix products are so much faster that the same shares need longer sequences and a wider model.
SETTINGS: Mapping[Device, Mapping[str, Setting]] = {
    Device.CPU: {
        setting.name: setting
        for setting in (
            Setting(
                name=DEFAULT_SETTING,
                description="narrow and long: attention is most of the step",
                model=ModelSize(layers=2, width=256, heads_q=8, heads_kv=2, head_dim=64, hidden=512),
                batch=1,
                seqlen=2048,
            ),
            Setting(
                name="balanced",
                description="the proportions of a small language model",
                model=ModelSize(layers=2, width=512, heads_q=8, heads_kv=2, head_dim=64, hidden=1408),
                batch=2,
                seqlen=1024,
            ),
            Setting(
                name="wide-heads",
                description="attention-heavy with head_dim 128",
                model=ModelSize(layers=2, width=256, heads_q=8, heads_kv=2, head_dim=128, hidden=512),
                batch=1,
                seqlen=2048,
            ),
        )
    },
    Device.CUDA: {
        setting.name: setting
        for setting in (
            Setting(
                name=DEFAULT_SETTING,
                description="narrow and long: attention is most of the step",
                model=ModelSize(layers=4, width=1024, heads_q=16, heads_kv=4, head_dim=64, hidden=2048),
                batch=1,
                seqlen=16384,
            ),
            Setting(
                name="balanced",
                description="the proportions of a small language model",
                model=ModelSize(layers=4, width=2048, heads_q=16, heads_kv=4, head_dim=128, hidden=5632),
                batch=4,
                seqlen=4096,
            ),
            Setting(
                name="wide-heads",
                description="attention-heavy with head_dim 128",
                model=ModelSize(layers=4, width=1024, heads_q=16, heads_kv=4, head_dim=128, hidden=2048),
                batch=1,
                seqlen=16384,
            ),
        )
    },
}
# Of the loss curves: small enough for a dozen runs of 200 steps, with heads that every kernel takes and grouped ones.
CURVE_SETTING = Setting(
    name="curves",
    description="the model whose loss curves are compared",
    model=ModelSize(layers=2, width=128, heads_q=2, heads_kv=1, head_dim=64, hidden=256),
    batch=8,
    seqlen=128,
)
# Of --quick: whether the command works, not how fast anything is.
QUICK_SETTING = Setting(
    name="quick",
    description="tiny: shows that the command works",
    model=ModelSize(layers=1, width=64, heads_q=2, heads_kv=1, head_dim=64, hidden=64),
    batch=1,
    seqlen=128,
)


def find_setting(device: Device, name: str) -> Setting:
    """The setting of that name; raises :class:`RoofgateError` if there is none."""
    known = SETTINGS[device]
    if name not in known:
        raise RoofgateError(f"--setting is {name!r}; {one_of(name, known)}")
    return known[name]
