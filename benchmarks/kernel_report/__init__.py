"""What the compiler made of the CUDA kernels, read from the built library; no GPU is needed.

::

    from benchmarks.kernel_report import occupancy, read

    for kernel in read(architectures=[90]):
        print(kernel.name, kernel.feature_type, kernel.registers, kernel.occupancy.share)
    occupancy(90, threads=128, registers=168, shared_bytes=0).blocks  # 3
"""

from .kernels import Kernel
from .library import ARCHITECTURES, CannotReport, read
from .occupancy import Occupancy, occupancy

__all__ = ["ARCHITECTURES", "CannotReport", "Kernel", "Occupancy", "occupancy", "read"]
