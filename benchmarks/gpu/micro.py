"""``python -m benchmarks.gpu.micro``: compiles and runs atomics.cu, which measures the rates of
reductions into global memory that the backward kernels' design rests on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.checkout import ROOT
from .measure import on_cuda, parser, work
from .record import Record

ROW = "reductions"
SOURCE = Path(__file__).with_name("atomics.cu")
CSRC = ROOT / "csrc"  # the very reduction that the kernels use


def compile_to(program: Path, architecture: str) -> None:
    """Raises:
    FileNotFoundError: there is no nvcc.
    subprocess.CalledProcessError: it refuses the source.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise FileNotFoundError("nvcc: not on PATH")
    command = [nvcc, "-O3", "-std=c++20", f"-I{CSRC}", f"-arch={architecture}"]
    command += ["-Werror", "all-warnings", "-o", str(program), str(SOURCE)]
    subprocess.run(command, check=True)


def measure(device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "atomics"
        # Without a device there is none to ask for its architecture.
        compile_to(program, "native" if on_cuda(device) else "sm_90")
        print("compiled")
        if not on_cuda(device):
            return {}
        done = subprocess.run([str(program)], capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n")
    done.check_returncode()
    return json.loads(done.stdout)


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("micro", __doc__).parse_args(argv)
    planned = {ROW: options.device}
    return work(Record(options.json, "micro", planned), planned, measure)


if __name__ == "__main__":
    sys.exit(main())
