"""Two revisions measured alternately, and a verdict on each case that can be trusted on a noisy machine.

In: two built revisions of the kernels (:mod:`perf.paired.revisions`) and a :class:`~perf.paired.model.Plan`. Out: a
:class:`~perf.paired.model.PairedComparison`, kept as JSON under ``out/comparisons``, which gate and report read.
``model`` holds the words, ``statistics`` and ``decision`` are pure, ``engine`` drives, and ``worker`` is the child
process that measures. May import ``kernels`` and the rest of ``perf``; ``reports`` may import ``model``, ``judged``,
``statistics`` and ``record``.
"""
