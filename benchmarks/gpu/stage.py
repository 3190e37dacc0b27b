"""``python -m benchmarks.gpu.stage STAGE --out DIR``: runs one stage of gpu_check.sh within its
budget and writes what became of it. Imports nothing that the stage might find broken."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TAIL = 6000  # characters of the log that the JSON repeats
NO_DEVICE = "no CUDA device"
STAGES = ("build", "test", "sanitize", "bench", "profile", "micro")


class Command(NamedTuple):
    """``most`` is the share of the stage's budget that it may take, lest the next get none."""

    argv: list[str]
    environment: Mapping[str, str] = {}
    most: float = 1.0


def commands(stage: str, device: str, details: Path, budget: int) -> list[Command]:
    """What the stage runs, one after the other; all of them even where one fails. ``details``
    is a folder for JSON that becomes part of the stage's own."""
    python = [sys.executable, "-m"]
    on_cuda = device == "cuda"
    if stage == "build":
        build = [Command([sys.executable, "setup.py", "build_ext", "--inplace"])] if on_cuda else []
        return [*build, Command([*python, "scrn_ops.doctor"])]
    if stage == "test":
        return _suites(details)
    if stage == "sanitize":
        small = [*python, "benchmarks.gpu.small", "--device", device]
        if not on_cuda:
            return [Command(small)]
        sanitizer = ["compute-sanitizer", "--error-exitcode", "9", "--tool"]
        # Otherwise a block of torch's allocator hides what is written beside a tensor.
        bare = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        return [
            Command(small, most=0.4),  # compiles what is compiled when it is first used
            Command([*sanitizer, "memcheck", *small], bare, most=0.4),
            Command([*sanitizer, "racecheck", *small], bare),
        ]
    if stage == "bench":
        cases = ["--full"] if on_cuda else ["--quick", "--filter", "32x64 ", "forward"]
        limits = ["--seconds", "0.1", "--compile-budget", "60" if on_cuda else "0"]
        limits += ["--time-limit", str(int(0.65 * budget))]
        network = ["--size", "360x480"] if on_cuda else ["--size", "64x64", "--seconds", "0.1"]
        ops = [*python, "benchmarks", *cases, "--device", device, *limits, "--out", str(details)]
        network = [*python, "benchmarks.network", *network, "--device", device]
        return [Command(ops), Command([*network, "--json", str(details / "network.json")])]
    if stage == "profile":
        target = ["--device", device, "--json"]
        return [
            Command([*python, "benchmarks.gpu.kernels", *target, str(details / "kernels.json")]),
            Command([*python, "benchmarks.gpu.counters", *target, str(details / "counters.json")]),
        ]
    micro = [*python, "benchmarks.gpu.micro", "--device", device]
    return [Command([*micro, "--json", str(details / "micro.json")])]


def _suites(details: Path) -> list[Command]:
    """One after the other: the counts of a suite are written when it ends, and one that overruns
    takes no other's with it. Large tensors come last, with the device to themselves."""

    def suite(name: str, places: Sequence[str], marks: str, most: float) -> Command:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
        environment = {"SCRN_OPS_LARGE": "1"} if name == "large" else {"OMP_NUM_THREADS": "2"}
        workers = min(8, (os.cpu_count() or 1) // 2)
        if name != "large" and workers > 1 and find_spec("xdist") is not None:
            argv += ["-n", str(workers)]
        argv += ["-m", marks, f"--junitxml={details / f'{name}.xml'}", *places]
        return Command(argv, environment, most)

    return [
        suite("attention", ["tests/attention"], "cuda and not slow", 0.5),
        suite("models", ["tests/models"], "cuda and not slow", 0.25),
        suite("ops", ["tests/ops"], "cuda and not slow", 0.6),
        suite("large", ["tests/ops", "tests/attention"], "cuda and slow", 1.0),
    ]


def find_device() -> dict[str, str] | None:
    """Facts of the first GPU, or None. Asks torch in a process of its own, since it may be what
    is broken; the driver's tool tells the clocks."""
    code = (
        "import torch; p = torch.cuda.get_device_properties(0); "
        "print(p.name, f'{p.major}.{p.minor}', torch.__version__, sep='\\n')"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if asked.returncode:
        return None
    name, capability, version = asked.stdout.splitlines()[-3:]
    facts = {"name": name, "capability": capability, "torch": version}
    query = "driver_version,clocks.max.sm,clocks.max.mem,clocks.sm,clocks.mem"
    try:
        told = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return facts
    values = (each.strip() for each in told.stdout.splitlines()[0].split(","))
    return facts | dict(zip(query.split(","), values, strict=False))


def run(stage: str, out: Path, device: str, budget: int) -> dict[str, Any]:
    start = time.monotonic()
    found = find_device() if device == "cuda" else {"name": "cpu"}
    facts: dict[str, Any] = {
        "stage": stage,
        "status": NO_DEVICE,
        "device": found,
        "python": sys.version.split()[0],
        "budget_seconds": budget,
        "commands": [],
        "details": {},
    }
    log_path = out / f"{stage}.log"
    log_path.write_text("" if found else f"{NO_DEVICE}\n")
    if found is None:
        facts["seconds"] = time.monotonic() - start
        return facts
    environment = os.environ | {"SCRN_OPS_CUDA": "1" if device == "cuda" else "0"}
    if "capability" in found:
        environment["TORCH_CUDA_ARCH_LIST"] = found["capability"]
    statuses = []
    with tempfile.TemporaryDirectory() as folder:
        details = Path(folder)
        for command in commands(stage, device, details, budget):
            left = budget - (time.monotonic() - start)
            began = time.monotonic()
            most = min(left, command.most * budget)
            status = _run(command.argv, log_path, environment | command.environment, most)
            statuses.append(status)
            facts["commands"].append(
                {
                    "command": shlex.join(command.argv),
                    "status": status,
                    "seconds": round(time.monotonic() - began, 1),
                }
            )
        facts["details"] = _details(details)
    failed = [status for status in statuses if status != "ok"]
    facts["status"] = failed[0] if failed else "ok"
    facts["seconds"] = round(time.monotonic() - start, 1)
    facts["log_tail"] = log_path.read_text(errors="replace")[-TAIL:]
    return facts


def _run(command: list[str], log: Path, environment: dict[str, str], left: float) -> str:
    with log.open("a") as file:
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        if left <= 1:
            file.write("not started: the budget is spent\n")
            return "not started"
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            file.write(f"{error}\n")
            return f"failed: {error}"
        try:
            status = process.wait(left)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            file.write("killed: the budget is spent\n")
            return "out of time"
    return "ok" if status == 0 else f"failed: exit status {status}"


def _details(folder: Path) -> dict[str, Any]:
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    suites = {path.stem: _tests(path) for path in sorted(folder.glob("*.xml"))}
    return {**found, "tests": suites} if suites else found


def _tests(path: Path) -> dict[str, Any]:
    """Counts, the names of what failed, and why what was skipped was."""
    from xml.etree import ElementTree

    root = ElementTree.parse(path).getroot()
    counts = {
        name: sum(int(suite.get(name, 0)) for suite in root.findall("testsuite"))
        for name in ("tests", "failures", "errors", "skipped")
    }
    failed, reasons = [], {}
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        skipped = case.find("skipped")
        if skipped is not None:
            reason = skipped.get("message", "")
            reasons[reason] = reasons.get(reason, 0) + 1
    return {**counts, "failed": failed, "skip_reasons": reasons}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.stage", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--budget", type=int, default=540, metavar="SECONDS")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    facts = run(options.stage, options.out, options.device, options.budget)
    (options.out / f"{options.stage}.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{options.stage}: {facts['status']}, {facts['seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
