"""Reads PTX: text in, :mod:`~profiles.simulator.ptx.syntax` out. What instructions mean is not known here."""

from profiles.simulator.ptx.errors import PtxError
from profiles.simulator.ptx.layout import kernel_names, kernel_text
from profiles.simulator.ptx.parser import parse_module

__all__ = ["PtxError", "kernel_names", "kernel_text", "parse_module"]
