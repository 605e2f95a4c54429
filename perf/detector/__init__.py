"""The detector's benchmark: how often verdicts on known slowdowns are right, ours and those of other tools.

In: nothing but this machine. Every trial plants a known slowdown (or none) in a workload, under a known load of the
machine, and asks one method for its verdict. Out: trials as JSON lines, their scores, and docs/detector.md with its
curves. ``workloads`` are what is slowed, ``regimes`` the load, ``methods`` the tools, ``trials`` the fixed plan and the
resumable runner, ``scores`` and ``targets`` pure statistics, ``page`` the document with its ``tables`` and ``figure``;
``selftest`` is the short form that proves the alarm on this machine. Nothing imports it but the command line.
"""
