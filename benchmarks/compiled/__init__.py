"""What the compilers made of the kernels, read from their code; no GPU is needed.

::

    from benchmarks.compiled.library import read

    for kernel in read(architectures=[90]):
        print(kernel.name, kernel.feature_type, kernel.registers, kernel.occupancy.share)
"""
