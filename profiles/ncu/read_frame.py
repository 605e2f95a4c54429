r"""The frame of a report file, as NVIDIA documents it: enough to see that nothing of it is cut off or lost.

``NVR\0``, a header, then blocks, each of a header and a payload of messages; every part has its size before it (four
bytes, little-endian), and headers are protobuf. NVIDIA's reader skips what it cannot parse without a word, so the
number of results that the frame declares is compared with the number that it returns. Metrics are named by their place
in a table of strings: one string that is lost moves every later value under another name, so the table is checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kernels.errors import RoofgateError

MAGIC = b"NVR\0"
KNOWN_VERSION = 7  # of ncu 2022.3 to 2025.1 at least
_VERSION = 1  # field of the file header
_RESULTS, _STRING_TABLE, _PAYLOAD_SIZE = 2, 4, 5  # fields of a block's header
_OTHER_RESULTS = (7, 8, 9)  # of ranges, command lists and graphs
_VARINT, _EIGHT_BYTES, _TEXT, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10


def count_results(content: bytes, path: str) -> int | None:
    """How many profiled launches the file declares; None if it also holds other results or is of another version.

    Raises:
        RoofgateError: the file is empty, is no report, or is cut off or damaged in its frame.
    """
    if not content:
        raise RoofgateError(f"{path}: is empty; the capture did not finish: run it again")
    if not content.startswith(MAGIC):
        raise RoofgateError(
            f"{path}: is no report of Nsight Compute (does not begin with NVR); expected .ncu-rep or CSV"
        )
    try:
        version, position = _file_version(content)
        return _count_in_blocks(content, position) if version == KNOWN_VERSION else None
    except (ValueError, IndexError, struct.error) as error:
        raise RoofgateError(f"{path}: the report is cut off or damaged ({error}); copy or capture it again") from error


def _file_version(content: bytes) -> tuple[int, int]:
    header, position = _sized_part(content, len(MAGIC))
    return _integers(header).get(_VERSION, 0), position


def _count_in_blocks(content: bytes, position: int) -> int | None:
    results, others = 0, 0
    while position < len(content):
        header, position = _sized_part(content, position)
        fields = _integers(header)
        payload_end = position + fields.get(_PAYLOAD_SIZE, 0)
        while position < payload_end:
            _, position = _sized_part(content, position)
        if position != payload_end:
            raise ValueError(f"a message ends at byte {position}, its block at byte {payload_end}")
        results += fields.get(_RESULTS, 0)
        others += sum(fields.get(field, 0) for field in _OTHER_RESULTS)
    return results if others == 0 else None


def _sized_part(content: bytes, position: int) -> tuple[memoryview, int]:
    (size,) = struct.unpack_from("<I", content, position)
    start, end = position + 4, position + 4 + size
    if end > len(content):
        raise ValueError(f"byte {position} announces {size} bytes, {len(content) - start} are left")
    return memoryview(content)[start:end], end


def _integers(header: memoryview) -> dict[int, int]:
    """The integer fields of a header, whose table of strings, if it has one, is whole."""
    integers: dict[int, int] = {}
    for field, value in _fields(header):
        if isinstance(value, int):
            integers[field] = value
        elif field == _STRING_TABLE:
            _require_names(value)
    return integers


def _require_names(table: memoryview) -> None:
    for field, name in _fields(table):
        if field != 1 or isinstance(name, int):
            raise ValueError("the table of names holds something else")
        text = bytes(name)
        if not text.isascii() or not text.decode("ascii").isprintable():
            raise ValueError("the table of names holds what cannot be a name")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: (number, integer or bytes)."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield field, value
        elif kind == _TEXT:
            size, position = _varint(message, position)
            yield field, message[position : position + size]
            position += size
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a header holds a field of unknown kind {kind}")
    if position != len(message):
        raise ValueError("a header ends inside one of its fields")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a header holds a number of more than ten bytes")
