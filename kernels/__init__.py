"""What is measured: attention kernels in C++ and CUDA, their build, their torch ops and their references.

In: the sources under ``csrc`` and the compilers of the machine. Out: C-ABI libraries, cubins and PTX under
``out/build`` with a build record, and ``kernels.ops.attention``. Imports nothing of ours; every other package may
import it. torch is imported by ``ops`` and ``reference`` alone, so building needs no torch.
"""
