"""Answers of a GPU, kept in a file: all words of small results, a digest of large ones, and reasons for none.

``recorded/h100.npz`` is such a file, of an NVIDIA H100, so that every machine can hold the simulator against hardware.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from profiles.simulator.probes.expectations import Expectation, digest_of
from profiles.simulator.probes.gpu_side import Outcome

KEPT = Path(__file__).parent / "recorded"
_LARGEST = 8000  # words that are kept themselves

Recorded = Mapping[str, Outcome | Expectation]


def write_recording(path: Path, answers: Mapping[str, Outcome]) -> None:
    """Keep result words by probe, and reasons as text."""
    kept = {name: answer for name, answer in answers.items() if not isinstance(answer, str)}
    small = {name: words for name, words in kept.items() if len(words) <= _LARGEST}
    digests = {name: digest_of(words) for name, words in kept.items() if len(words) > _LARGEST}
    reasons = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    arrays = {
        "names": _texts(small),
        "counts": np.array([len(words) for words in small.values()], np.uint32),
        "words": np.concatenate([np.zeros(0, np.uint64), *small.values()]),
        "large": _texts(f"{name} {item.words} {item.digest} {' '.join(item.first)}" for name, item in digests.items()),
        "reasons": _texts(f"{name} {reason}" for name, reason in reasons.items()),
    }
    write_atomically(path, _archive(arrays))


def _texts(lines: Iterable[str]) -> np.ndarray[Any, np.dtype[np.str_]]:
    return np.array(list(lines), np.str_)


def _archive(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """An .npz, all words in one array and packed by LZMA: a third smaller than numpy's own."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_LZMA)
    return content.getvalue()


def read_recording(path: Path) -> Recorded:
    """What :func:`write_recording` kept; raises :class:`RoofgateError` if the file is missing or damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes())) as recorded:
            return _unpacked(recorded)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        kept = ", ".join(f'"{name}"' for name in kept_recordings())
        raise RoofgateError(
            f'{path}: no recorded answers there ({error}); expected "expected", "gpu", {kept}, or a file that '
            "python -m profiles probe --against gpu wrote"
        ) from error


def _unpacked(arrays: Mapping[str, Any]) -> dict[str, Outcome | Expectation]:
    ends = itertools.accumulate(map(int, arrays["counts"]))
    words = np.split(arrays["words"].astype(np.uint64), list(ends)[:-1])
    found: dict[str, Outcome | Expectation] = dict(zip(map(str, arrays["names"]), words, strict=False))
    for line in arrays["large"]:
        name, count, digest, *first = str(line).split(" ")
        found[name] = Expectation(int(count), digest, tuple(first))
    for line in arrays["reasons"]:
        name, reason = str(line).split(" ", 1)
        found[name] = reason
    return found


def kept_recordings() -> dict[str, Path]:
    """The recordings that belong to the project, by name."""
    return {path.stem: path for path in sorted(KEPT.glob("*.npz"))}
