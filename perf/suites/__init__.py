"""The pytest-benchmark suites. Run them through ``python -m perf bench``, which loads :mod:`perf.plugin`."""
