"""``python -m benchmarks.gpu.micro``: compiles and runs micro/atomics.cu, which measures the
rates of reductions into global memory that the backward kernels' design rests on."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .record import OK, Record

ROW = "reductions"
SOURCE = Path(__file__).resolve().parents[1] / "micro" / "atomics.cu"
CSRC = SOURCE.parents[2] / "csrc"  # the very reduction that the kernels use


def compile_to(program: Path, architecture: str) -> None:
    """Raises:
    FileNotFoundError: there is no nvcc.
    subprocess.CalledProcessError: it refuses the source.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise FileNotFoundError("nvcc: not on PATH")
    command = [
        nvcc,
        "-O3",
        "-std=c++20",
        "-I",
        str(CSRC),
        f"-arch={architecture}",
        "-Werror",
        "all-warnings",
    ]
    subprocess.run([*command, "-o", str(program), str(SOURCE)], check=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.micro", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", type=Path, required=True, metavar="PATH")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "atomics"
        # Without a device there is none to ask for its architecture.
        compile_to(program, "native" if options.device == "cuda" else "sm_90")
        print("compiled")
        record = Record(options.json, "micro", [ROW])
        if options.device == "cpu":
            record.add(ROW, OK)
            return 0
        done = subprocess.run([str(program)], capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n")
    if done.returncode == 0:
        record.add(ROW, OK, **json.loads(done.stdout))
    else:
        record.add(ROW, f"failed: exit status {done.returncode}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
