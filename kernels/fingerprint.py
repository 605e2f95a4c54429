"""Is this the same machine code? Digests of what the processor executes, and of nothing else.

Bytes alone do not say everything: a library has holes where the loader puts the addresses of other libraries'
functions and of its own tables, and an object file has one at every call. What goes there stands in relocations, so
they count too.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from typing import cast

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, Symbol, SymbolTableSection

from kernels.errors import RoofgateError

# Code, the constants that it reads, and a kernel's resource needs (registers, shared memory). Line tables, symbol
# names and notes are left out: they change with a comment or a path.
_CODE_SECTIONS = (".text", ".rodata", ".data", ".nv.constant", ".nv.info.", ".nv.shared")


def machine_code_fingerprint(*binaries: bytes) -> str:
    """SHA-256 over what linked ELF binaries, host libraries or cubins, execute.

    Covers code and constant sections, and the addresses that the loader fills in.

    Raises :class:`RoofgateError` if one of them is no ELF file.
    """
    digest = hashlib.sha256()
    for binary in binaries:
        try:
            sections = ELFFile(io.BytesIO(binary)).iter_sections()
            for section in sorted(sections, key=lambda section: section.name):
                if section.name.startswith(_CODE_SECTIONS) and section["sh_type"] != "SHT_NOBITS":
                    digest.update(section.name.encode() + b"\0" + section.data())
            for fact in _loader_relocations(ELFFile(io.BytesIO(binary))):
                digest.update(repr(fact).encode() + b"\n")
        except ELFError as error:
            raise _no_elf(error) from error
    return digest.hexdigest()


def object_fingerprint(binary: bytes) -> str:
    """SHA-256 over what an unlinked object file contributes to a library.

    Covers every section that is loaded (code, constants, data, start-up and exception tables) with its alignment; where
    each symbol that other objects can see lies; and each relocation as (section, offset, type, target, addend). The
    target is the name of a visible symbol, or section and offset of a local one, so neither the numbering nor the names
    of local symbols count, nor do comments, line numbers, paths, or tables that only debuggers and unwinders read.

    Raises:
        RoofgateError: ``binary`` is no ELF file.
    """
    digest = hashlib.sha256()
    try:
        for fact in _facts(ELFFile(io.BytesIO(binary))):
            digest.update(repr(fact).encode() + b"\n")
    except ELFError as error:
        raise _no_elf(error) from error
    return digest.hexdigest()


def _loader_relocations(elf: ELFFile) -> Iterator[tuple[object, ...]]:
    """What the loader puts where: (offset, type, name of another library's symbol if any, addend). Cubins have none."""
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
            symbols = cast(SymbolTableSection, elf.get_section(section["sh_link"]))
            for entry in section.iter_relocations():
                symbol = symbols.get_symbol(entry["r_info_sym"])
                addend = entry["r_addend"] if entry.is_RELA() else 0
                yield "relocation", entry["r_offset"], entry["r_info_type"], symbol.name, symbol["st_value"], addend


def _no_elf(error: ELFError) -> RoofgateError:
    return RoofgateError(f"a built file is no ELF binary ({error}); delete out/build and build again")


def _facts(elf: ELFFile) -> Iterator[tuple[object, ...]]:
    """Everything of an object that can change what runs, in the order of the file."""
    labels = _labels(elf)
    yield "machine", elf["e_machine"], elf["e_ident"]["EI_CLASS"], elf["e_ident"]["EI_DATA"]
    for index, section in enumerate(elf.iter_sections()):
        if _is_loaded(section):
            content = b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
            shape = (section["sh_size"], section["sh_addralign"], section["sh_flags"])
            yield "section", labels[index], *shape, hashlib.sha256(content).hexdigest()
        elif isinstance(section, SymbolTableSection):
            yield from sorted(_visible_symbols(section, labels), key=repr)
        elif isinstance(section, RelocationSection) and _is_loaded(elf.get_section(section["sh_info"])):
            symbols = cast(SymbolTableSection, elf.get_section(section["sh_link"]))
            yield from _relocations(section, labels, symbols)


def _labels(elf: ELFFile) -> dict[int, str]:
    """A name for each section index; sections of one name, as COMDAT groups have them, are counted."""
    seen: Counter[str] = Counter()
    labels = {}
    for index, section in enumerate(elf.iter_sections()):
        labels[index] = f"{section.name}#{seen[section.name]}"
        seen[section.name] += 1
    return labels


def _is_loaded(section: Section) -> bool:
    """Whether a section is mapped when the library runs, and more than a note or the unwinder's table."""
    return (
        bool(section["sh_flags"] & SH_FLAGS.SHF_ALLOC)
        and section["sh_size"] > 0
        and section["sh_type"] != "SHT_NOTE"
        and not section.name.startswith(".eh_frame")
    )


def _visible_symbols(table: SymbolTableSection, labels: dict[int, str]) -> Iterator[tuple[object, ...]]:
    """Where the code that other objects may call begins. Sizes count where the linker makes the space itself."""
    for symbol in table.iter_symbols():
        place, binding = symbol["st_shndx"], symbol["st_info"]["bind"]
        if binding == "STB_LOCAL" or place == "SHN_UNDEF":
            continue
        size = symbol["st_size"] if place == "SHN_COMMON" else 0
        visibility = symbol["st_other"]["visibility"]
        yield "symbol", symbol.name, binding, visibility, labels.get(place, place), symbol["st_value"], size


def _relocations(
    section: RelocationSection, labels: dict[int, str], symbols: SymbolTableSection
) -> Iterator[tuple[object, ...]]:
    place = labels[section["sh_info"]]
    # Stable: the order of several relocations at one offset has a meaning on some processors.
    for relocation in sorted(section.iter_relocations(), key=lambda relocation: int(relocation["r_offset"])):
        symbol = symbols.get_symbol(relocation["r_info_sym"])
        addend = relocation["r_addend"] if relocation.is_RELA() else 0
        kind = relocation["r_info_type"]
        yield "relocation", place, relocation["r_offset"], kind, _target(symbol, labels), addend


def _target(symbol: Symbol, labels: dict[int, str]) -> tuple[object, ...]:
    """A visible symbol by its name, a local one by where it lies."""
    if symbol["st_info"]["bind"] != "STB_LOCAL":
        return (symbol.name,)
    place = symbol["st_shndx"]
    return labels.get(place, place), symbol["st_value"]
