"""The table inside a CSV export, strictly: ncu quotes every field, so whatever is not quoted is not its own.

With ``--csv`` and no ``--log-file``, ncu's ``==PROF==`` lines and the program's own output stand between the records.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kernels.errors import RoofgateError

_RECORD = re.compile(r'"(?:[^"]|"")*+"(?:,"(?:[^"]|"")*+")*+,?')
_FIELD = re.compile(r'"((?:[^"]|"")*+)"')
_LINE_END = re.compile(r"\r?\n|\Z")
_REMEDY = "export it again with: ncu --import REPORT --csv --page raw --print-units base, or capture with --log-file"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the table, with the number of its first line in the file."""

    line: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The header and the records that follow it; ``messages`` are ncu's own lines such as ``==WARNING== ...``."""

    path: str
    header: tuple[str, ...]
    records: tuple[Record, ...]
    messages: tuple[str, ...]

    def damaged(self, record: Record, problem: str) -> RoofgateError:
        """The refusal of the whole file for what one record shows."""
        return RoofgateError(f"{self.path}: line {record.line}: {problem}; the file is damaged or cut: {_REMEDY}")


def read_table(content: bytes, path: str) -> Table:
    """Find the table of a CSV export.

    Raises:
        RoofgateError: no table (then with the errors that ncu wrote instead), text that is not UTF-8 or UTF-16, or a
            record that is not quoted as ncu quotes.
    """
    messages: list[str] = []
    header: tuple[str, ...] = ()
    records: list[Record] = []
    for record in _scan(_decode(content, path), path, messages):
        if header:
            records.append(record)
        elif "Kernel Name" in record.fields:
            header = record.fields
    if not header:
        raise _no_table(path, messages)
    if len(set(header)) != len(header):
        raise RoofgateError(f"{path}: a column stands twice in the header; the file is damaged: {_REMEDY}")
    return Table(path, header, tuple(records), tuple(messages))


def _decode(content: bytes, path: str) -> str:
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # what PowerShell's ">" writes
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise RoofgateError(f"{path}: is neither UTF-8 nor UTF-16 text (byte {error.start}); {_REMEDY}") from error


def _scan(text: str, path: str, messages: list[str]) -> Iterator[Record]:
    position, line = 0, 1
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        if text[position] == '"':
            match = _RECORD.match(text, position)
            if match is None or not _LINE_END.match(text, match.end()):
                raise RoofgateError(f"{path}: line {line}: not one whole record; the file is damaged or cut: {_REMEDY}")
            yield Record(line, _split(match[0]))
            end = text.find("\n", match.end())
            end = len(text) if end < 0 else end
        else:
            _keep_message(text[position:end].strip(), f"{path}: line {line}", messages)
        line += text.count("\n", position, end + 1)
        position = end + 1


def _split(record: str) -> tuple[str, ...]:
    fields = [field.replace('""', '"') for field in _FIELD.findall(record)]
    return (*fields, "") if record.endswith(",") else tuple(fields)


def _keep_message(line: str, place: str, messages: list[str]) -> None:
    if '","' in line:
        raise RoofgateError(f"{place}: a record mixed with other output; the file is damaged: {_REMEDY}")
    if line.startswith("=="):
        messages.append(line)


def _no_table(path: str, messages: list[str]) -> RoofgateError:
    errors = [message for message in messages if message.startswith(("==ERROR==", "==WARNING=="))]
    if errors:
        return RoofgateError(f"{path}: a failed capture without any launch; ncu says: {' '.join(errors)}")
    return RoofgateError(f"{path}: no table of Nsight Compute in it (no header with a Kernel Name); {_REMEDY}")
