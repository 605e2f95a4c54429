"""``python -m perf transformer``: train and run a whole model with torch's attention and with ours."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kernels.build import HOST_LIBRARY, current_record
from kernels.errors import RoofgateError
from kernels.library import open_built
from kernels.workspace import Workspace
from perf.model import Device
from perf.transformer.conclusions import exit_code
from perf.transformer.record import read_run, transformer_folder, write_run
from perf.transformer.settings import DEFAULT_SETTING, SETTINGS, Setting, find_setting
from perf.transformer.terminal import print_run

EXAMPLES = """\
examples:
  python -m perf transformer                              the attention-heavy model on the host; two minutes
  python -m perf transformer --setting balanced --steps 0 another model, times alone
  python -m perf transformer --device cuda --setting all  every model on the GPU
  python -m perf transformer --quick                      does it work? seconds; its times mean nothing
  python -m perf transformer --show FILE                  print a stored run again

A step with torch's attention, one with ours and both attentions alone are timed alternately. Amdahl's law predicts the
step's speed-up from the kernel's. Loss curves are equal if ours is as near to torch's as torch's own variants are.

exit codes: 0 predictions hold within 10 % and curves are equal, 1 one of them does not, 2 an error, 3 too noisy to say
"""
_ALL = "all"
_STEPS, _QUICK_STEPS = 200, 10
_SECONDS, _QUICK_SECONDS = 4.0, 0.5
_LOG_WIDTH = 140


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    names = sorted({name for settings in SETTINGS.values() for name in settings})
    parser.add_argument("--device", choices=[device.value for device in Device], default=Device.CPU.value)
    parser.add_argument(
        "--setting",
        default=DEFAULT_SETTING,
        metavar="NAME",
        help=f"size of the model: {', '.join(names)}, or {_ALL} (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, help=f"of each loss curve; 0 for no curves (default: {_STEPS})")
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"time for each of the six things timed in each phase (default: {_SECONDS:g})",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of the host (default: torch's choice)")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps, to see whether it works")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a stored run; nothing is measured")


def run(options: argparse.Namespace) -> int:
    """Measure, store and print every setting asked for; returns the exit code."""
    console = Console()
    console = console if console.is_terminal else Console(width=_LOG_WIDTH)
    if options.show:
        try:
            stored = read_run(options.show)
        except RoofgateError as error:
            raise RoofgateError(f"{options.show}: {error}") from error
        print_run(stored, console)
        return exit_code(stored)
    # Imported here: torch takes seconds to load, which a mistake in the options or --show should not wait for.
    settings = _settings(options)
    from perf.transformer.session import Plan, check_device, run_transformer

    device = Device(options.device)
    check_device(device)
    workspace = Workspace()
    open_built(current_record(workspace), HOST_LIBRARY)
    codes = []
    with workspace.writing("roofgate transformer"):
        for index, setting in enumerate(settings):
            plan = Plan(
                device=device,
                setting=setting,
                steps=_steps(options) if index == 0 else 0,  # curves have a model of their own
                seconds_each=_seconds(options),
                quick=options.quick,
                threads=options.threads,
            )
            found = run_transformer(plan, lambda text: console.print(text, style="dim", markup=False))
            path = write_run(transformer_folder(workspace), found)
            print_run(found, console)
            console.print(f"{path}; the report shows it: nox -s report", soft_wrap=True)
            codes.append(exit_code(found))
    return worst(codes)


def worst(codes: Sequence[int]) -> int:
    """The gravest of several exit codes: a breach (1) before no verdict (3) before success (0)."""
    return min((code for code in codes if code), default=0)


def _settings(options: argparse.Namespace) -> Sequence[Setting]:
    device = Device(options.device)
    _steps(options), _seconds(options)
    if options.threads is not None and options.threads < 1:
        raise RoofgateError(f"--threads is {options.threads}; expected 1 or more")
    return tuple(SETTINGS[device].values()) if options.setting == _ALL else (find_setting(device, options.setting),)


def _steps(options: argparse.Namespace) -> int:
    default = _QUICK_STEPS if options.quick else _STEPS
    steps: int = default if options.steps is None else options.steps
    if steps < 0:
        raise RoofgateError(f"--steps is {steps}; expected 0 or more")
    return steps


def _seconds(options: argparse.Namespace) -> float:
    default = _QUICK_SECONDS if options.quick else _SECONDS
    seconds: float = default if options.seconds is None else options.seconds
    if not (math.isfinite(seconds) and seconds > 0):
        raise RoofgateError(f"--seconds is {seconds:g}; expected a positive number of seconds")
    return seconds
