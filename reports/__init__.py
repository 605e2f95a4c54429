"""Static HTML, a Markdown summary and JUnit XML over one :class:`perf.findings.Assessment`.

In: the assessment of a commit. Out: ``out/site``, ``out/summary.md`` and ``out/junit.xml``. May import ``perf`` and
the data types of ``profiles``; nothing imports ``reports``.
"""
