"""The simulator's answers, kept in ``expected/``: one JSON file for each family of probes.

Of each probe: the number of result words, a digest of all, the first few for the eye, and, where that is small or a
tolerance makes the digest useless, all of them, compressed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from profiles.simulator.probes.catalogue import all_probes
from profiles.simulator.probes.compare import Row, Status, compare
from profiles.simulator.probes.probe import Probe, Results, Words

FOLDER = Path(__file__).parent / "expected"
_SHOWN = 6
_LARGEST = 2400  # characters of a compressed result that is kept although its digest would do


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is kept of one result."""

    words: int
    digest: str
    first: tuple[str, ...]
    everything: str = ""  # zlib and base64; "" if only the digest is kept

    def unpacked(self) -> Words | None:
        """All words, if they are kept."""
        if not self.everything:
            return None
        return np.frombuffer(zlib.decompress(base64.b64decode(self.everything)), "<u8").astype(np.uint64)


def digest_of(words: Words) -> Expectation:
    """To recognise a result by, without its words."""
    first = tuple(f"{word:x}" for word in words[:_SHOWN].tolist())
    return Expectation(len(words), hashlib.sha256(_bytes(words)).hexdigest()[:32], first)


def expectation_of(probe: Probe, words: Words) -> Expectation:
    """What to keep of a result."""
    packed = base64.b64encode(zlib.compress(_bytes(words), 9)).decode()
    keep = probe.tolerance is not None or len(packed) <= _LARGEST
    return replace(digest_of(words), everything=packed if keep else "")


def _bytes(words: Words) -> bytes:
    return words.astype("<u8").tobytes()


def against_expectation(probe: Probe, expectation: Expectation | None, found: Words) -> Row:
    """Hold a result against what was kept."""
    if expectation is None:
        return Row(probe.name, Status.NOT_RUN, "nothing is expected yet; run: python -m profiles probe --update")
    everything = expectation.unpacked()
    if everything is not None:
        return compare(probe, everything, found)
    now = digest_of(found)
    if now.digest == expectation.digest:
        return Row(probe.name, Status.EQUAL, words=len(found))
    detail = f"the digest; it began with {' '.join(expectation.first)}, now with {' '.join(now.first)}"
    return Row(probe.name, Status.DIFFERS, detail, 0, len(found))


def read_expectations(folder: Path = FOLDER) -> dict[str, Expectation]:
    """All that are kept, by probe; raises :class:`RoofgateError` for a file that cannot be read."""
    found: dict[str, Expectation] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            for name, item in json.loads(path.read_text()).items():
                found[name] = Expectation(item["words"], item["digest"], tuple(item["first"]), item.get("all", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RoofgateError(f"{path} is damaged ({error!r}); restore it from the repository") from error
    return found


def write_expectations(results: Results, folder: Path = FOLDER) -> int:
    """Keep these results, and of other probes what was kept; returns how many are new or changed."""
    kept = read_expectations(folder)
    changed = 0
    for family, probes in all_probes().items():
        content: dict[str, Mapping[str, object]] = {}
        for probe in probes:
            item = expectation_of(probe, results[probe.name]) if probe.name in results else kept.get(probe.name)
            if item is None:
                continue
            changed += item != kept.get(probe.name)
            content[probe.name] = {"words": item.words, "digest": item.digest, "first": item.first} | (
                {"all": item.everything} if item.everything else {}
            )
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(item)}" for name, item in content.items())
        write_atomically(folder / f"{family}.json", "{\n" + lines + "\n}\n")
    return changed
