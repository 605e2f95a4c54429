"""Which objects of a library the code of another can reach once they are linked."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kernels.build_record import ObjectCode
from kernels.errors import RoofgateError
from kernels.fingerprint import object_fingerprint

# The linker keeps one definition of these and drops the others: inline functions and templates mostly.
_SHARED_BINDINGS = frozenset({"STB_WEAK", "STB_LOOS"})  # GNU's unique symbols have the first number of the latter
# Pointers that the compiler makes for the unwinder. Many objects have them, and their content follows from the name.
_POINTER = "DW.ref."


@dataclass(frozen=True, slots=True)
class _Symbols:
    """The symbols of one object that other objects can see."""

    defined: frozenset[str]
    shared: frozenset[str]
    referenced: frozenset[str]


def object_codes(objects: Mapping[str, bytes]) -> tuple[ObjectCode, ...]:
    """Fingerprint and links of each object of one library.

    Args:
        objects: content of the object files by source, in the order in which they are linked.

    Raises:
        RoofgateError: one of them is no ELF file.
    """
    try:
        symbols = {source: _symbols(content) for source, content in objects.items()}
    except ELFError as error:
        raise RoofgateError(f"an object is no ELF file ({error}); delete out/build and build again") from error
    owners = _first({source: each.defined for source, each in symbols.items()})
    keepers = _first({source: each.shared for source, each in symbols.items()})
    return tuple(
        ObjectCode(
            source=source,
            fingerprint=object_fingerprint(content),
            calls=_others(source, symbols[source].referenced, owners, keepers),
            borrows=_others(source, symbols[source].shared, owners, keepers),
        )
        for source, content in objects.items()
    )


def _symbols(content: bytes) -> _Symbols:
    defined: set[str] = set()
    shared: set[str] = set()
    referenced: set[str] = set()
    tables = [table for table in ELFFile(io.BytesIO(content)).iter_sections() if isinstance(table, SymbolTableSection)]
    for symbol in chain.from_iterable(table.iter_symbols() for table in tables):
        binding = symbol["st_info"]["bind"]
        if binding == "STB_LOCAL" or symbol.name.startswith(_POINTER):
            continue
        if symbol["st_shndx"] == "SHN_UNDEF":
            referenced.add(symbol.name)
        elif binding in _SHARED_BINDINGS or symbol["st_shndx"] == "SHN_COMMON":
            shared.add(symbol.name)
        else:
            defined.add(symbol.name)
    return _Symbols(frozenset(defined), frozenset(shared), frozenset(referenced))


def _first(symbols: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The source that defines each symbol first in the order of linking."""
    owners: dict[str, str] = {}
    for source, names in symbols.items():
        for name in names:
            owners.setdefault(name, source)
    return owners


def _others(source: str, names: Iterable[str], *owners: Mapping[str, str]) -> tuple[str, ...]:
    found = {owner[name] for name in names for owner in owners if name in owner}
    return tuple(sorted(found - {source}))
