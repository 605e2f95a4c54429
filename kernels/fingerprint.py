"""Is this the same machine code? A digest of what the processor executes, and of nothing else."""

from __future__ import annotations

import hashlib
import io

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kernels.errors import RoofgateError

# Code, the constants that it reads, and a kernel's resource needs (registers, shared memory). Line tables, symbol
# names and notes are left out: they change with a comment or a path.
_CODE_SECTIONS = (".text", ".rodata", ".data", ".nv.constant", ".nv.info.", ".nv.shared")


def machine_code_fingerprint(*binaries: bytes) -> str:
    """SHA-256 over the code and constant sections of ELF binaries: host libraries or cubins.

    Raises :class:`RoofgateError` if one of them is no ELF file.
    """
    digest = hashlib.sha256()
    for binary in binaries:
        try:
            sections = ELFFile(io.BytesIO(binary)).iter_sections()
            for section in sorted(sections, key=lambda section: section.name):
                if section.name.startswith(_CODE_SECTIONS) and section["sh_type"] != "SHT_NOBITS":
                    digest.update(section.name.encode() + b"\0" + section.data())
        except ELFError as error:
            raise RoofgateError(f"a built file is no ELF binary ({error}); delete out/build and build again") from error
    return digest.hexdigest()
