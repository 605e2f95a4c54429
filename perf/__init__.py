"""Measure, store, judge. The domain lives here: :mod:`perf.model` is measured, :mod:`perf.findings` concluded.

In: YAML (targets, suites, thresholds), libraries built by :mod:`kernels`, captures made by :mod:`profiles`. Out: run
files in pytest-benchmark's format, the baseline, and the gate's verdict. May import ``kernels``; ``profiles`` and
``reports`` may import it. torch is imported by the measuring modules alone
(``tests/test_import_arrows.py`` lists them), so comparing and gating run where torch is not installed.
"""
