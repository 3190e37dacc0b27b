"""``python -m scrn_ops.doctor``: what is installed, what works and why not, one line each.

Exit status 1 means that the installed build cannot work: the libraries do not load, the kernels
give wrong results, or a CUDA device is visible that they do not serve.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable

import torch

from ._core import load
from ._version import __version__

INSTRUCTION_SETS = ("avx512", "avx2", "portable")


class Report:
    """Prints one line per subject and remembers whether one of them was a failure."""

    def __init__(self) -> None:
        self.failed = False

    def say(self, subject: str, text: str) -> None:
        print(f"{subject:<9} {' '.join(text.split())}")

    def fail(self, subject: str, text: str) -> None:
        self.failed = True
        self.say(subject, f"FAILED: {text}")


def main(failure: ImportError | None = None) -> int:
    """Prints the report; ``failure`` is what stopped the package from being imported."""
    report = Report()
    report.say("scrn_ops", f"{__version__} in {load.PACKAGE}")
    report.say("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    report.say("torch", f"{torch.__version__}, {cuda}")
    report.say("build", describe_build())
    if failure is not None:
        report.fail("load", str(failure))
        return 1
    describe_cpu(report)
    describe_cuda(report)
    report.say("triton", describe_triton())
    return int(report.failed)


def describe_build() -> str:
    info = load.build_info()
    if not info:
        return "nothing built"
    cuda = info["cuda"]
    text = f"with torch {info['torch']} by {info['compiler']}"
    if not cuda["built"]:
        return f"{text}; no CUDA kernels: {cuda['reason']}"
    names = " ".join(cuda["architectures"])
    return f"{text}; CUDA {cuda['version']} kernels for {names}, cudart {cuda['cudart']}"


def describe_cpu(report: Report) -> None:
    try:
        used = load.cpu_instruction_set()
        error = largest_error("cpu")
    except Exception as problem:
        report.fail("cpu", f"{type(problem).__name__}: {problem}")
        return
    others = [name for name in INSTRUCTION_SETS if name != used]
    there = [name for name in others if load.cpu_has_instruction_set(name)]
    absent = [name for name in others if name not in there]
    text = f"{used} kernels, {torch.get_num_threads()} threads"
    text += f"; also here: {', '.join(there)}" if there else ""
    text += f"; not here: {', '.join(absent)}" if absent else ""
    report_error(report, "cpu", text, error)


def describe_cuda(report: Report) -> None:
    absence = load.cuda_absence()
    if torch.version.cuda is None:
        report.say("cuda", f"kernels not loaded: {absence}")
        return
    if not torch.cuda.is_available():
        kernels = "kernels loaded" if absence is None else f"kernels not loaded: {absence}"
        report.say("cuda", f"{kernels}; no usable device: {device_absence()}")
        return
    if absence is not None:
        report.fail("cuda", f"{torch.cuda.get_device_name()} is visible, but {absence}")
        return
    architectures = load.build_info()["cuda"]["architectures"]
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        name = f"{torch.cuda.get_device_name(index)} ({major}.{minor})"
        if not covers(architectures, major, minor):
            report.fail(
                f"cuda:{index}",
                f"{name} is not among {' '.join(architectures)}; rebuild with "
                f"TORCH_CUDA_ARCH_LIST={major}.{minor}",
            )
            continue
        try:
            error = largest_error(f"cuda:{index}")
        except Exception as problem:
            report.fail(f"cuda:{index}", f"{name}: {type(problem).__name__}: {problem}")
            continue
        report_error(report, f"cuda:{index}", name, error)


def device_absence() -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as problem:
        return str(problem).splitlines()[0].split(". ")[0]
    return "no CUDA device is visible"


def covers(architectures: Iterable[str], major: int, minor: int) -> bool:
    """Whether code for those architectures runs on a device of capability ``major.minor``.

    Machine code runs on the same major version from its own minor on, PTX on everything newer,
    and the code of a suffix (9.0a, 10.0f) on its own architecture or family only.
    """
    for text in architectures:
        number, _, ptx = text.partition("+")
        suffix = number[-1] if number[-1].isalpha() else ""
        built_major, built_minor = (int(part) for part in number.rstrip("af").split("."))
        newer = (major, minor) >= (built_major, built_minor)
        if suffix == "a":
            newer = (major, minor) == (built_major, built_minor)
        if newer and (major == built_major or (ptx and not suffix)):
            return True
    return False


def describe_triton() -> str:
    try:
        import triton
    except ImportError as problem:
        return f"not importable: {problem}"
    return str(triton.__version__)


def report_error(report: Report, subject: str, text: str, error: float) -> None:
    if error < 1e-5:
        report.say(subject, f"{text}; forward and backward agree with the reference ({error:.0e})")
    else:
        report.fail(subject, f"{text}; differs from the reference by {error:.1e} of the norm")


def largest_error(device: str) -> float:
    """The largest relative L2 error of a small ``semantic_refine``, its gradients included."""
    # Not above: without the libraries it cannot be imported, and this module says why.
    from .functional import semantic_refine

    generator = torch.Generator().manual_seed(0)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    arguments = [tensor(2, 12, 5, 7), tensor(2, 2, 10, 13), tensor(2, 9, 10, 13)]
    arguments.append(tensor(2, 12, 10, 13))
    grad = tensor(2, 12, 10, 13)
    results: list[list[torch.Tensor]] = []
    for backend in ("fused", "reference"):
        leaves = [each.clone().requires_grad_() for each in arguments]
        low, offset, mask, skip = leaves
        output = semantic_refine(low, offset, mask, skip, mask_is_logits=True, backend=backend)
        results.append([output.detach(), *torch.autograd.grad(output, leaves, grad)])
    pairs = zip(*results, strict=True)
    errors = [float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs]
    return float(torch.tensor(errors).max())  # Python's max() drops a NaN


if __name__ == "__main__":
    sys.exit(main())
