"""Measure, store, judge. The domain model (:mod:`perf.model`) lives here.

In: YAML (targets, suites, thresholds), libraries built by :mod:`kernels`, captures made by :mod:`profiles`. Out: run
files in pytest-benchmark's format, the baseline, and the gate's verdict. May import ``kernels``; ``profiles`` and
``reports`` may import it. torch is imported by the measuring modules alone (``machine``, ``timer``, ``suites``,
``plugin``), so comparing and gating run where torch is not installed.
"""
