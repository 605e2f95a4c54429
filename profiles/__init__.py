"""Where the time goes: counters per kernel, from layers that need no GPU and, where there is one, from hardware.

In: the cubins and compiler output of a build. Out: :class:`perf.model.CaptureSet` files under ``out/captures``. May
import ``kernels`` and ``perf``; ``reports`` may import its data types.
"""
