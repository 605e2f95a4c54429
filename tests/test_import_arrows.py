"""The direction of the data flow, held by looking at every import."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("kernels", "perf", "profiles", "reports")
ALLOWED = {
    "kernels": set(),
    "perf": {"kernels"},
    "profiles": {"kernels", "perf"},
    # Of kernels, the report takes the error and file conventions alone: what a kernel is reaches it as data.
    "reports": {"kernels.errors", "kernels.artifacts", "kernels.workspace", "perf", "profiles"},
}
# Comparing, gating and reporting run where torch is not installed.
TORCH_MODULES = {
    *(f"kernels/{name}.py" for name in ("attention_inputs", "attention_params", "masks", "ops", "reference", "sdpa")),
    *(f"perf/{name}.py" for name in ("case_inputs", "flex_form", "torch_forms", "varlen_forms")),
    "perf/ceilings.py",
    "perf/doctor.py",  # tries to, and says so where it cannot
    "perf/machine.py",
    "perf/measure.py",
    "perf/paired/cuda_sides.py",
    "perf/paired/process_side.py",
    "perf/peers.py",
    "perf/plugin.py",
    "perf/profiled_launches.py",
    "perf/timer.py",
    *(f"perf/transformer/{name}.py" for name in ("attentions", "decoder", "session", "spans", "timing", "training")),
    "profiles/simulated.py",
    *(
        f"profiles/simulator/{name}.py"
        for name in ("attention_bounds", "attention_case", "attention_inputs", "device_tensors")
    ),
}


def imports(path: Path) -> set[str]:
    """Full names of every module that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def within(name: str, parents: set[str]) -> bool:
    """Whether the module is one of these or inside one."""
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def forbidden(path: Path, package: str) -> set[str]:
    """Imports of ours that point the wrong way."""
    ours = {name for name in imports(path) if name.split(".")[0] in PACKAGES}
    parents = ALLOWED[package] | {package}
    bases = {parent.rpartition(".")[0] for parent in parents if "." in parent}
    return {name for name in ours if not within(name, parents) and name not in bases}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_flows_into_them(package: str) -> None:
    """Kernels <- perf <- profiles <- reports, never back."""
    wrong = {path.name: names for path in (ROOT / package).rglob("*.py") if (names := forbidden(path, package))}

    assert wrong == {}


def test_a_planted_import_is_seen(tmp_path: Path) -> None:
    """The check can fail."""
    path = tmp_path / "planted.py"
    path.write_text("def late():\n    from reports import view\n")

    assert forbidden(path, "perf") == {"reports", "reports.view"}


def test_torch_is_imported_only_where_tensors_exist() -> None:
    """Everything else runs without torch."""
    importers = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if within("torch", {name.split(".")[0] for name in imports(path)})
    }

    assert importers <= TORCH_MODULES


def test_the_model_imports_only_the_standard_library() -> None:
    """The files of words are the vocabulary of all packages, so they depend on each other alone."""
    words = {"perf.case", "perf.model", "perf.findings", "perf.paired.model"}
    names = {name for word in words for name in imports(ROOT / f"{word.replace('.', '/')}.py")}
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}

    assert all(within(name, words) for name in foreign)
    assert within("perf.model", imports(ROOT / "perf" / "findings.py"))


def test_kernels_is_our_package() -> None:
    """A package of the same name exists on the registry; ours must win from the root of a checkout."""
    import kernels

    assert Path(str(kernels.__file__)).parent == ROOT / "kernels"
