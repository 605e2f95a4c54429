"""Each revision is built from its own sources by its own commands; what cannot be built is told, not raised."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from kernels.build_record import BuildStatus
from kernels.case_code import has_same_code
from kernels.fingerprint import machine_code_fingerprint
from kernels.toolchain import find_cxx
from perf.model import Layer
from perf.paired.revision_builds import RevisionBuild, build_revision
from perf.paired.revisions import resolve, revisions_folder

ROOT = Path(__file__).parents[3]
IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]

# Writes a record as the real command does, and says which sources it was built from.
BUILD_COMMAND = """\
import json, pathlib, sys
words = pathlib.Path("kernels/words.txt").read_text().strip()
print(f"building {words}")
failed = words == "broken"
path = pathlib.Path("out/build/build.json")
path.parent.mkdir(parents=True, exist_ok=True)
library = {"name": "cpu", "architecture": "cpu", "status": "built", "library": "out/build/libraries/cpu.so",
           "fingerprint": "by an old rule", "compiler": words, "flags": [], "device_code": []}
refused = {"name": "cuda_sm_80", "architecture": "sm_80", "status": "failed", "reason": "a.cu:1: error: no such type"}
device = {"source": "a.cu", "cubin": "out/build/objects/a.cubin", "ptx": "out/build/objects/a.ptx",
          "compiler_log": "out/build/objects/a.log"}
built = refused | {"status": "built", "library": "out/build/libraries/cuda.so", "device_code": [device]}
for name in ("libraries/cpu.so", "libraries/cuda.so", "objects/a.cubin", "objects/a.ptx", "objects/a.log"):
    (path.parent / name).parent.mkdir(exist_ok=True)
    # The head of an ELF file that has no sections.
    (path.parent / name).write_bytes(b"\\x7fELF\\2\\1\\1".ljust(20, b"\\0") + b"\\1".ljust(44, b"\\0"))
record = {"schema": 1, "sources_digest": words, "libraries": [library, refused if failed else built]}
temporary = path.with_suffix(".tmp")
temporary.write_text(json.dumps(record))
temporary.replace(path)
if failed:
    print("error: cuda_sm_80 could not be built", file=sys.stderr)
    sys.exit(2)
"""

CAPTURE_COMMAND = """\
import json, pathlib
path = pathlib.Path("out/captures/static.json")
path.parent.mkdir(parents=True, exist_ok=True)
capture = {"kernel": pathlib.Path("kernels/words.txt").read_text().strip(), "architecture": "sm_80", "layer": "static",
           "counters": {}, "fingerprint": "f", "opcodes": {}, "occupancy_limiter": "", "launch": "", "source": "a.cu",
           "warnings": []}
problem = {"subject": "cuda_sm_86", "reason": "not built"}
path.write_text(json.dumps({"schema": 1, "layer": "static", "tree": "t", "captures": [capture], "problems": [problem]}))
"""


def git(root: Path, *arguments: str) -> None:
    """Run git with an identity of its own."""
    subprocess.run(["git", "-C", str(root), *IDENTITY, *arguments], check=True, capture_output=True)


def commit(root: Path, files: dict[str, str]) -> None:
    """Commit these files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    git(root, "add", "-A")
    git(root, "commit", "--allow-empty", "-m", "Change")


def build(root: Path, name: str, lines: list[str] | None = None) -> RevisionBuild:
    """Resolve and build, quietly."""
    said = lines if lines is not None else []
    return build_revision(resolve(name, root), root, progress=said.append)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A repository whose out/ is ignored."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--initial-branch=main")
    commit(root, {".gitignore": "/out/\n__pycache__/\n"})
    return root


@pytest.fixture
def repository(empty: Path) -> Path:
    """HEAD~1 says first, HEAD says second, the working tree says edited."""
    commands = {"kernels/__main__.py": BUILD_COMMAND, "profiles/__main__.py": CAPTURE_COMMAND}
    commit(empty, {**commands, "kernels/words.txt": "first\n"})
    commit(empty, {"kernels/words.txt": "second\n"})
    (empty / "kernels" / "words.txt").write_text("edited\n")
    return empty


def test_each_revision_is_built_from_its_own_sources(repository: Path) -> None:
    """Two commits and the edited working tree, with absolute paths into each one's out/."""
    built = {name: build(repository, name) for name in ("HEAD~1", "HEAD", "working-tree")}
    libraries = {name: each.library("cpu") for name, each in built.items()}
    roots = {name: each.revision.root for name, each in built.items()}

    assert [library and library.compiler for library in libraries.values()] == ["first", "second", "edited"]
    assert [each.failure for each in built.values()] == ["", "", ""]
    assert {name: library and library.library for name, library in libraries.items()} == {
        name: str(root / "out/build/libraries/cpu.so") for name, root in roots.items()
    }
    cuda = built["HEAD"].library("cuda_sm_80")
    assert cuda is not None
    assert cuda.device_code[0].cubin == str(roots["HEAD"] / "out/build/objects/a.cubin")


def test_fingerprints_are_by_todays_rule(repository: Path) -> None:
    """Of a commit that had another rule too, or equal libraries would seem to differ."""
    base, candidate = (build(repository, name).library("cpu") for name in ("HEAD~1", "HEAD"))
    assert base is not None
    assert candidate is not None

    assert base.fingerprint == machine_code_fingerprint(Path(base.library).read_bytes()) == candidate.fingerprint


def test_what_the_build_prints_is_passed_on(repository: Path) -> None:
    """As it comes, with the revision's name before it."""
    lines: list[str] = []
    build(repository, "HEAD~1", lines)

    assert "HEAD~1: building first" in lines


def test_a_commit_is_built_once(repository: Path) -> None:
    """The second time nothing runs, and the same is found: libraries, captures and their problems."""
    lines: list[str] = []
    first = build(repository, "HEAD~1", lines)
    said = len(lines)

    assert build(repository, "HEAD~1", lines) == first
    assert len(lines) == said > 0
    assert first.captures is not None


def test_the_working_tree_is_built_every_time(repository: Path) -> None:
    """Nobody but its own build knows whether it was edited."""
    lines: list[str] = []
    for words in ("edited", "edited again"):
        (repository / "kernels" / "words.txt").write_text(words)
        library = build(repository, "working-tree", lines).library("cpu")

        assert library is not None
        assert library.compiler == words


@pytest.mark.parametrize(
    "change", ["another compiler", "objects removed", "record removed", "record of somebody else's build"]
)
def test_a_commit_is_built_again_when_that_could_give_another_result(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Code of two compilers is no comparison of two commits."""
    record = build(repository, "HEAD~1").revision.root / "out" / "build" / "build.json"
    if change == "another compiler":
        other = shutil.copy(find_cxx(), tmp_path / "other")
        monkeypatch.setenv("CXX", str(other))
    elif change == "objects removed":
        shutil.rmtree(repository / "out" / "build" / "objects")
    elif change == "record removed":
        record.unlink()
    else:
        shutil.copy(record, tmp_path / "copy")
        (tmp_path / "copy").replace(record)
    lines: list[str] = []
    built = build(repository, "HEAD~1", lines)

    assert "HEAD~1: building first" in lines
    assert not built.failure


@pytest.mark.parametrize("failing", ["kernels", "profiles"])
def test_a_failure_is_tried_again(repository: Path, failing: str) -> None:
    """What was missing may be there now."""
    edit = {
        "kernels": {"kernels/words.txt": "broken\n"},
        "profiles": {"profiles/__main__.py": CAPTURE_COMMAND + "raise SystemExit('error: the cubin is damaged')\n"},
    }
    commit(repository, edit[failing])
    lines: list[str] = []
    build(repository, "HEAD", lines)
    said = len(lines)
    build(repository, "HEAD", lines)

    assert len(lines) == 2 * said > 0


def test_revisions_share_objects_and_disassemblies(repository: Path) -> None:
    """Both are named by content, so what two commits have in common is made once."""
    root = build(repository, "HEAD~1").revision.root
    for name in ("build/objects", "captures/cache"):
        (root / "out" / name / "made").touch()

        assert (repository / "out" / name / "made").exists()


def test_a_link_to_elsewhere_is_made_anew(repository: Path, tmp_path: Path) -> None:
    """Such as to where the repository was before it was moved."""
    link = build(repository, "HEAD~1").revision.root / "out" / "build" / "objects"
    link.unlink()
    link.symlink_to(tmp_path)  # without the artefacts of the build
    build(repository, "HEAD~1")

    assert link.resolve() == repository / "out" / "build" / "objects"


@pytest.mark.parametrize("move", [shutil.move, lambda old, new: shutil.copytree(old, new, symlinks=True)])
def test_a_moved_or_copied_repository_keeps_to_itself(
    repository: Path, tmp_path: Path, move: Callable[[Path, Path], object]
) -> None:
    """Its checkouts still lead to the old place, and are made anew."""
    build(repository, "HEAD~1")
    there = tmp_path / "there"
    move(repository, there)
    built = build(there, "HEAD~1")
    git_folder = (built.revision.root / ".git").read_text()

    assert (built.revision.root / "out" / "build" / "objects").resolve() == there / "out" / "build" / "objects"
    assert git_folder.startswith(f"gitdir: {there}/.git/worktrees/")
    assert not built.failure


def test_the_static_layer_is_the_revisions_own(repository: Path) -> None:
    """Captured by its own analysis, with the problems that this had."""
    built = build(repository, "HEAD~1")

    assert built.captures is not None
    assert built.captures.layer is Layer.STATIC
    assert [capture.kernel for capture in built.captures.captures] == ["first"]
    assert [problem.subject for problem in built.problems] == ["cuda_sm_86"]


def test_a_refused_source_keeps_the_compilers_words_and_the_other_libraries(repository: Path) -> None:
    """The comparison goes on with what there is."""
    commit(repository, {"kernels/words.txt": "broken\n"})
    built = build(repository, "HEAD")

    assert built.library("cpu") is not None
    assert built.library("cuda_sm_80") is None
    assert built.reason("cuda_sm_80") == "a.cu:1: error: no such type"
    assert built.failure.endswith("could not be built: cuda_sm_80 could not be built")


def test_a_commit_of_before_the_build_command_is_told(empty: Path) -> None:
    """Without looking for a package called kernels elsewhere on this machine."""
    built = build(empty, "HEAD")

    assert (built.record, built.captures) == (None, None)
    assert "has no command that builds its kernels (python -m kernels build)" in built.failure
    assert built.reason("cpu") == built.failure


def test_a_crashed_build_is_told_without_its_traceback(repository: Path) -> None:
    """And the record of an earlier build is not taken for its own."""
    assert build(repository, "working-tree").record is not None
    (repository / "kernels" / "__main__.py").write_text("import json\njson.loads('{')\n")
    built = build(repository, "working-tree")

    assert built.record is None
    assert "JSONDecodeError" in built.failure
    assert "Traceback" not in built.failure


def test_a_build_that_writes_nothing_is_told(repository: Path) -> None:
    """Whatever its exit code claims."""
    commit(repository, {"kernels/__main__.py": "print('nothing to do')\n"})

    assert "wrote no" in build(repository, "HEAD").failure


def test_a_foreign_record_is_told(repository: Path) -> None:
    """Such as that of a later version."""
    commit(repository, {"kernels/__main__.py": BUILD_COMMAND.replace('"schema": 1', '"schema": 99')})

    assert "schema 99, expected 1" in build(repository, "HEAD").failure


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (None, "is older than the command that captures it"),
        ("import sys; sys.exit('error: the cubin is damaged')", "its capture failed: the cubin is damaged"),
        ("pass", "its capture wrote nothing"),
    ],
)
def test_a_missing_static_layer_is_a_problem_with_its_reason(
    repository: Path, command: str | None, reason: str
) -> None:
    """The libraries are there all the same."""
    path = repository / "profiles" / "__main__.py"
    if command is None:
        path.unlink()
    else:
        path.write_text(command + "\n")
    commit(repository, {})
    built = build(repository, "HEAD")

    assert built.library("cpu") is not None
    assert built.captures is None
    assert [reason in problem.reason for problem in built.problems] == [True]
    assert built.problems[0].subject == "static layer of HEAD"


def test_two_comparisons_do_not_make_one_checkout_at_once(repository: Path) -> None:
    """The second says that it waits, and goes on when the first has ended."""
    revision = resolve("HEAD~1", repository)
    folder = revisions_folder(repository)
    folder.mkdir(parents=True)
    lines: list[str] = []
    waits = threading.Event()

    def progress(line: str) -> None:
        lines.append(line)
        waits.set()

    second = threading.Thread(target=build_revision, args=(revision, repository, progress))
    with FileLock(folder / f"{revision.commit_id}.lock"):
        second.start()
        assert waits.wait(10)
        assert not revision.root.exists()
    second.join(20)

    assert lines[0] == f"HEAD~1: another comparison is building {revision.short}; waiting for it"
    assert revision.root.exists()


def test_an_interrupted_build_ends_its_command(repository: Path) -> None:
    """Ctrl-C waits for no compiler, and the next comparison finds nothing locked."""
    slow = BUILD_COMMAND + "\nimport time\nprint(flush=True)\ntime.sleep(600)\n"
    commit(repository, {"kernels/__main__.py": slow})

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="HEAD: building"):
        build_revision(resolve("HEAD", repository), repository, progress=interrupt)
    with FileLock(revisions_folder(repository) / f"{resolve('HEAD', repository).commit_id}.lock", timeout=0):
        assert resolve("HEAD", repository).root.exists()


SCALE = """extern "C" __attribute__((visibility("default"))) int roofgate_scale(int x) { return x * 3; }
"""
CEILING = """extern "C" __attribute__((visibility("default"))) int roofgate_ceiling(int x) { return x + 7; }
"""


@pytest.fixture
def project(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's own build with two small host sources, and no CUDA compiler."""
    monkeypatch.setenv("ROOFGATE_CUDA_HOME", str(empty / "no-cuda"))
    shutil.copytree(ROOT / "kernels", empty / "kernels", ignore=shutil.ignore_patterns("csrc", "__pycache__"))
    exports = (ROOT / "kernels" / "csrc" / "exports.map").read_text()
    sources = {"scale_cpu.cpp": SCALE, "ceilings_cpu.cpp": CEILING, "exports.map": exports}
    commit(empty, {f"kernels/csrc/{name}": content for name, content in sources.items()})
    return empty


def has_same_scale(one: RevisionBuild, other: RevisionBuild) -> bool:
    """Whether a case of the operation "scale" executes the same code in both."""
    base, candidate = one.library("cpu"), other.library("cpu")
    assert base is not None
    assert candidate is not None
    return has_same_code(base, candidate, "scale", "portable")


def test_real_builds_are_told_apart_case_by_case(project: Path) -> None:
    """In another folder, a comment or another kernel's edit leaves a case's code as it is; its own edit does not."""
    commit(project, {"kernels/csrc/scale_cpu.cpp": "// Thrice.\n\n" + SCALE})
    commit(project, {"kernels/csrc/ceilings_cpu.cpp": CEILING.replace("7", "8")})
    (project / "kernels" / "csrc" / "scale_cpu.cpp").write_text(SCALE.replace("3", "5"))
    base, comment, other, own = (build(project, name) for name in ("HEAD~2", "HEAD~1", "HEAD", "working-tree"))

    assert has_same_scale(base, comment)
    assert has_same_scale(base, other)
    assert not has_same_scale(base, own)
    assert base.reason("cuda_sm_80").startswith("ROOFGATE_CUDA_HOME is")


def compilations(lines: list[str]) -> int:
    """How many were told of. Two that end at once may share a line: each is told by a thread of its own."""
    return sum(line.count("compiled in") for line in lines)


def test_nothing_is_compiled_twice(project: Path) -> None:
    """Neither by a second comparison of a commit, nor by another commit that shares a source."""
    commit(project, {"README.md": "Only words.\n"})
    lines: list[str] = []
    build(project, "HEAD~1", lines)
    first = compilations(lines)
    again, beside = build(project, "HEAD~1", lines), build(project, "HEAD", lines)

    assert first == 2
    assert compilations(lines) == first
    for built in (again, beside):
        library = built.library("cpu")
        assert library is not None
        assert library.cached


def test_a_real_compile_error_is_kept(project: Path) -> None:
    """In the compiler's own words; the other side is built."""
    commit(project, {"kernels/csrc/scale_cpu.cpp": "int scale() { return thrice; }\n"})
    built = build(project, "HEAD")

    assert build(project, "HEAD~1").library("cpu") is not None
    assert built.record is not None
    assert built.record.library("cpu").status is BuildStatus.FAILED
    assert "scale_cpu.cpp:1:" in built.reason("cpu")
    assert "thrice" in built.reason("cpu")
