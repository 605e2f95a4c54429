"""What ncu says when it fails, run by run: exit code, log and output, and the kind of failure that it is.

Those without a driver were recorded with ncu 2024.1.1; the others are messages that users of 2022 to 2026 report.
"""

from __future__ import annotations

from profiles.ncu.failures import FailureKind
from tests.profiles.ncu.fake_ncu import ABSENT, EMPTY, TRUNCATED, Play

_NO_KERNELS = "==WARNING== No kernels were profiled.\n"
_CONNECTED = "==PROF== Connected to process 20101 (/usr/bin/python3.11)\n"

RECORDED: dict[str, tuple[Play, FailureKind]] = {
    "no driver": (
        Play(
            exit_code=1,
            output="==ERROR== Nsight Compute failed to connect to the CUDA driver (stub libcuda.so[.1] on path?).\n",
            log="==ERROR== The application returned an error code (2).\n" + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.NO_DRIVER,
    ),
    "sandbox without the driver's profiling library": (
        Play(
            exit_code=1,
            log=_CONNECTED + "==ERROR== Failed to initialize the profiler: LibraryNotLoaded\n",
            report=ABSENT,
        ),
        FailureKind.NO_DRIVER,
    ),
    "driver mismatch": (
        Play(
            exit_code=1,
            log="==ERROR== Cuda driver is not compatible with Nsight Compute.\n"
            "==WARNING== Failed to load Nsight Compute CUDA modules.\n" + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.DRIVER_MISMATCH,
    ),
    "no permission": (
        Play(
            exit_code=1,
            log=_CONNECTED + "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU "
            "Performance Counters on the target device 0. For instructions on enabling permissions and to get more "
            "information see https://developer.nvidia.com/ERR_NVGPUCTRPERM\n"
            "==PROF== Disconnected from process 20101\n" + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.NO_PERMISSION,
    ),
    "no permission, and yet exit code 0": (
        Play(
            log="==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance "
            "Counters on the target device 0.\n" + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.NO_PERMISSION,
    ),
    "DCGM holds the counters": (
        Play(
            exit_code=9,
            log=_CONNECTED + "==ERROR== An error was reported by the driver:\n"
            "==ERROR== Profiling failed because a driver resource was unavailable. Ensure that no other tool (like "
            "DCGM) is concurrently collecting profiling data. See "
            "https://docs.nvidia.com/nsight-compute/ProfilingGuide/index.html#faq for more details.\n"
            '==ERROR== Failed to profile "attention_fwd" in process 20101\n' + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.COUNTERS_BUSY,
    ),
    "shared MIG instance": (
        Play(
            exit_code=1,
            log=_CONNECTED + "==ERROR== Failed to access the following 2 metrics: dram__bytes.sum, lts__t_sectors.sum. "
            "When profiling on a MIG instance, it is not possible to collect metrics from GPU units that are shared "
            "with other MIG instances.\n",
            report=ABSENT,
        ),
        FailureKind.SHARED_MIG_INSTANCE,
    ),
    "lock file of another user": (
        Play(
            exit_code=1,
            log="==ERROR== Failed to open/create lock file /tmp/nsight-compute-lock. Please check that this process "
            "has write permissions on the file.\n",
            report=ABSENT,
        ),
        FailureKind.LOCK_FILE,
    ),
    "metric unknown": (
        Play(
            exit_code=1,
            log=_CONNECTED + "==ERROR== Failed to find metric regex:^bogus__metric(\\.sum)?$\n" + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.UNKNOWN_METRIC,
    ),
    "option unknown": (
        Play(
            exit_code=1,
            log="",
            output="==ERROR== unrecognised option '--badflag'. Use --help for further details.\n",
            report=ABSENT,
        ),
        FailureKind.REFUSED_COMMAND,
    ),
    "section unknown": (
        Play(
            exit_code=1,
            log="",
            output="==ERROR== Option '--section NoSuch' did not match any section.\n"
            "==ERROR== Use --list-sections to see the list of available sections.\n",
            report=ABSENT,
        ),
        FailureKind.REFUSED_COMMAND,
    ),
    "program missing": (
        Play(
            exit_code=1,
            log="",
            output="==ERROR== '/nonexistent/prog' does not exist or is not an executable. Please make sure to specify "
            "the absolute path to '/nonexistent/prog' if the executable is not in the local directory.\n",
            report=ABSENT,
        ),
        FailureKind.PROGRAM_MISSING,
    ),
    "program failed": (
        Play(
            exit_code=2,
            output="error: library 'cuda_sm_90a' is not built; run: nox -s build\n",
            log=_CONNECTED + "==PROF== Disconnected from process 20101\n"
            "==ERROR== The application returned an error code (2).\n" + _NO_KERNELS,
            report=ABSENT,
        ),
        FailureKind.PROGRAM_FAILED,
    ),
    "nothing matched": (
        Play(
            log=_CONNECTED + "==PROF== Disconnected from process 20101\n" + _NO_KERNELS + "Available Kernels:\n"
            "1. attention_fwd_kernel\n2. distribution_elementwise_grid_stride_kernel\n",
            report=ABSENT,
        ),
        FailureKind.NOTHING_MATCHED,
    ),
    "killed by a signal": (Play(crash=True, log=_CONNECTED, report=ABSENT), FailureKind.UNEXPLAINED),
    "an error that is not known": (
        Play(exit_code=1, log=_CONNECTED + "==ERROR== LaunchFailed\n", report=ABSENT),
        FailureKind.UNEXPLAINED,
    ),
    "no report": (Play(report=ABSENT), FailureKind.NO_REPORT),
    "empty report": (Play(report=EMPTY), FailureKind.DAMAGED_REPORT),
    "truncated report": (Play(report=TRUNCATED), FailureKind.DAMAGED_REPORT),
    "one launch too many": (Play(extra_launches=1), FailureKind.WRONG_LAUNCHES),
    "one launch too few": (Play(extra_launches=-1), FailureKind.WRONG_LAUNCHES),
}
