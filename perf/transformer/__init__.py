"""A whole transformer, trained and run with torch's attention and with ours: what the kernels give where they are used.

In: a model's size (:mod:`perf.transformer.settings`), text that :mod:`perf.transformer.text` makes, and the library
that :mod:`kernels` built. Out: one JSON file per setting in ``out/transformer`` (:mod:`perf.transformer.record`) and a
table. May import ``kernels`` and ``perf``; ``reports`` may import what needs no torch: ``results``, ``conclusions``,
``amdahl``, ``curves`` and ``record``. torch is imported by ``attentions``, ``decoder``, ``spans``, ``timing``,
``training`` and ``session``.
"""
