"""Runs compiled kernels, as PTX, on a processor without a GPU, and says what they do and what they do wrong.

In: the PTX text that the compiler made, a launch (grid, block, arguments) and the arrays that it works on. Out: the
arrays as the kernel leaves them, counters per instruction, and findings (races, addresses out of bounds, barriers that
cannot complete, ...), each with its PTX line and its CUDA line.

``ptx`` reads PTX and knows nothing of its meaning; ``lowering`` turns its instructions into operations; ``runtime``
(C++) executes those. Tools and tests may import this package; it imports nothing of a kernel but its build products.
"""
