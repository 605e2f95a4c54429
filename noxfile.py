# /// script
# dependencies = ["nox>=2026.4.10"]
# ///
"""roofgate: build attention kernels, measure them, explain the time, report, and gate.

Plain ``nox`` runs the main job: build, bench, profile, report, gate. Open out/site/index.html afterwards.
Options go behind ``--`` to the sessions that take them:

    nox -s bench -- --suite smoke     a benchmark run of under a minute
    nox -s compare -- main            the working tree against main, alternately
    nox -s profile -- --import FILE   any report of Nsight Compute as pages of the site
    nox -s tests -- tests/perf        one folder of tests
    nox --no-venv                     use the packages of the Python that runs nox
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib import metadata
from pathlib import Path

import nox

nox.needs_version = ">=2026.4.10"
nox.options.sessions = ["build", "bench", "profile", "report", "gate"]
nox.options.error_on_external_run = True

PROJECT = nox.project.load_toml("pyproject.toml")
ENVIRONMENT = Path(".nox/roofgate")
# A fixed hash seed keeps the order of sets, and so of whatever a dependency derives from one, equal between runs.
VARIABLES = {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}  # unbuffered: progress appears as it happens


def _wants_no_venv() -> bool:
    """Whether nox was called with --no-venv.

    nox makes one environment per session and cannot share one, which would install torch nine times. So the sessions
    declare no environment and share one of ours; what they then cannot see is nox's own option.
    """
    return not {"--no-venv", "--force-venv-backend=none"}.isdisjoint(sys.argv[1:])


def _python(session: nox.Session) -> str:
    """The Python that has everything: the shared environment's, made or brought up to date first."""
    if _wants_no_venv():
        _check_installed(session)
        return sys.executable
    if sys.version_info < (3, 11):  # noqa: UP036 - nox itself runs on older ones
        session.error(f"Python {sys.version.split()[0]} is too old: run nox with Python 3.11 or later")
    requirements = [*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, "all")]
    digest = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()
    stamp = ENVIRONMENT / "installed.sha256"
    python = ENVIRONMENT / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == digest):
        session.log("Installing torch, the CUDA compiler and the tools into %s (once, a few minutes)", ENVIRONMENT)
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True)
        session.run(str(python), "-m", "pip", "install", "--upgrade", *requirements, external=True)
        stamp.write_text(digest)
    return str(python)


def _check_installed(session: nox.Session) -> None:
    """End the session with a list of what this Python lacks, instead of a traceback later."""
    requirements = [*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, "torch", "bench")]
    missing = []
    for requirement in requirements:
        name = re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(requirement)
    if missing:
        session.error(f"--no-venv: {sys.executable} lacks {', '.join(missing)}; install them or leave --no-venv out")


def _run(session: nox.Session, *command: str) -> None:
    """Run ``python`` with ``command`` in the shared environment."""
    _run_program(session, _python(session), *command)


def _run_program(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the shared environment, whose folder comes first on PATH."""
    folder = Path(program).absolute().parent
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    session.run(program, *arguments, external=True, env={**VARIABLES, "PATH": path})


@nox.session(venv_backend="none")
def build(session: nox.Session) -> None:
    """Compile the host and CUDA kernels that have changed."""
    _run(session, "-m", "kernels", "build")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Measure a suite against torch and the machine's ceilings [-- --suite smoke|default|full -k EXPRESSION]."""
    _run(session, "-m", "perf", "bench", *session.posargs)


@nox.session(venv_backend="none")
def profile(session: nox.Session) -> None:
    """Collect counters of every CUDA kernel, on a GPU with Nsight Compute too [-- --import FILE...]."""
    if "--import" in session.posargs:
        files = [argument for argument in session.posargs if argument != "--import"]
        _run(session, "-m", "profiles", "import", *files)
        _run(session, "-m", "reports", "render")
        return
    # Other options are those of a session that runs beside this one: nox -- --suite smoke.
    _run(session, "-m", "profiles", "capture")


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """Render out/site/index.html, out/summary.md and out/junit.xml from stored results."""
    _run(session, "-m", "reports", "render")


@nox.session(venv_backend="none")
def gate(session: nox.Session) -> None:
    """Judge stored results by ci/thresholds.yml; writes out/verdict.json."""
    _run(session, "-m", "perf", "gate")


@nox.session(venv_backend="none", default=False)
def promote(session: nox.Session) -> None:
    """Make the present results the baseline that later ones are compared with."""
    _run(session, "-m", "perf", "promote")


@nox.session(venv_backend="none", default=False)
def compare(session: nox.Session) -> None:
    """Measure two revisions alternately and say what changed [-- BASE [CANDIDATE] and options; -- --help]."""
    _run(session, "-m", "perf", "compare", *session.posargs)


@nox.session(venv_backend="none", default=False)
def transformer(session: nox.Session) -> None:
    """Train and time a whole model with torch's attention and ours [-- --setting all | --quick]."""
    _run(session, "-m", "kernels", "build", "--architecture", "cpu")
    _run(session, "-m", "perf", "transformer", *session.posargs)


@nox.session(venv_backend="none", default=False)
def selftest(session: nox.Session) -> None:
    """Plant known slowdowns in real kernels and see whether they are found here [-- --short]."""
    _run(session, "-m", "kernels", "build", "--architecture", "cpu")
    _run(session, "-m", "perf", "selftest", *session.posargs)


@nox.session(venv_backend="none", default=False)
def detector(session: nox.Session) -> None:
    """Run the detector's benchmark against other tools (two hours) and write docs/detector.md [-- --minutes N]."""
    _run(session, "-m", "kernels", "build", "--architecture", "cpu")
    _run(session, "-m", "pip", "install", "--quiet", *nox.project.dependency_groups(PROJECT, "detector"))
    _run(session, "-m", "perf.detector", "run", *session.posargs)
    _run(session, "-m", "perf.detector", "page")


@nox.session(venv_backend="none", default=False)
def doctor(session: nox.Session) -> None:
    """Say what this machine can run, what is missing, and the remedy for each."""
    _run(session, "-m", "perf", "doctor")


@nox.session(venv_backend="none", default=False)
def tests(session: nox.Session) -> None:
    """Run the tests [-- PATH or pytest options]."""
    _run(session, "-m", "kernels", "build")
    _run(session, "-m", "pytest", *session.posargs)


@nox.session(venv_backend="none", default=False)
def simulate(session: nox.Session) -> None:
    """Run every CUDA kernel, every feature, on the simulator [-- pytest options]; no GPU needed."""
    _run(session, "-m", "kernels", "build")
    everything = ("-m", "simulated_all or not simulated_all")
    folders = ("tests/kernels/test_attention_fwd_simulated.py", "tests/kernels/test_attention_bwd_simulated.py")
    folders += ("tests/profiles/simulator",)
    _run(session, "-m", "pytest", *everything, *(session.posargs or folders))


@nox.session(venv_backend="none", default=False)
def mutants(session: nox.Session) -> None:
    """Change single instructions of every CUDA kernel and see whether the simulator's checks notice [-- --help]."""
    _run(session, "-m", "kernels", "build")
    _run(session, "-m", "profiles", "mutants", *session.posargs)


@nox.session(venv_backend="none", default=False)
def lint(session: nox.Session) -> None:
    """Check formatting, style and types of Python, C++ and CUDA sources."""
    _run(session, "-m", "ruff", "format", "--check", ".")
    _run(session, "-m", "ruff", "check", ".")
    _run(session, "-m", "mypy")
    suffixes = {".c", ".cpp", ".cu", ".cuh", ".h"}
    folders = ("kernels", "profiles", "tests")
    sources = sorted(str(path) for folder in folders for path in Path(folder).rglob("*") if path.suffix in suffixes)
    clang_format = str(Path(_python(session)).with_name("clang-format"))
    _run_program(session, clang_format, "--dry-run", "--Werror", *sources)


if __name__ == "__main__":
    nox.main()
