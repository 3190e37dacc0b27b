"""``gpu_check.sh``: what a few minutes on a machine with a GPU are spent on, stage by stage, and
what became of each. Imports nothing that a stage might find broken."""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..common.checkout import ROOT, commit
from . import record
from .record import OK, Record

PATIENCE = 90  # seconds, for the first answer of a device
TAIL = 4000  # characters of a stage's log that check.json repeats
NO_DEVICE = "no CUDA device"
RUNNING = "running"  # stays behind where the whole script was killed
OUT_OF_TIME, NOT_STARTED = "out of time", "not started"
CHECK, LOG = "check.json", "check.log"

# In the order of what they tell, with the weight of each one's share of the minutes.
STAGES = {
    "build": 120,
    "smoke": 60,
    "key": 110,
    "test": 170,
    "network": 50,
    "profile": 70,
    "sanitize": 90,
}


def file_of(stage: str) -> str:
    """Of its rows; the build has none."""
    return f"{stage}.json"


class Command(NamedTuple):
    """``most`` is the share of the stage's time that it may take, lest the next get none."""

    argv: list[str]
    environment: Mapping[str, str] = {}
    most: float = 1.0


def commands(stage: str, device: str, out: Path) -> list[Command]:
    """What the stage runs, one after the other; all of them even where one fails."""
    python = [sys.executable, "-m"]
    if stage == "build":
        build = [Command([sys.executable, "setup.py", "build_ext", "--inplace"])]
        return [*(build if device == "cuda" else []), Command([*python, "scrn_ops.doctor"])]
    file = file_of(stage)
    assert file is not None
    if stage == "test":
        return _suites(device, out / file)
    module = f"benchmarks.gpu.{stage}"
    return [Command([*python, module, "--device", device, "--json", str(out / file)])]


def _suites(device: str, file: Path) -> list[Command]:
    """Large tensors come last, with the device to themselves. A rehearsal runs few tests."""

    def suite(name: str, places: Sequence[str], marks: str, most: float) -> Command:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
        argv += ["-p", "benchmarks.gpu.ended_tests"]
        environment = {"SCRN_ENDED_TESTS": f"{file}::{name}"}
        environment |= {"SCRN_OPS_LARGE": "1"} if name == "large" else {"OMP_NUM_THREADS": "2"}
        workers = min(8, (os.cpu_count() or 1) // 2)
        if device == "cuda" and name != "large" and workers > 1 and find_spec("xdist") is not None:
            argv += ["-n", str(workers)]
        return Command([*argv, "-m", marks, *places], environment, most)

    if device == "cpu":
        return [suite("ops", ["tests/ops/srm/test_conventions.py"], "not slow", 1.0)]
    tested = {path.parent.name for path in ROOT.glob("tests/ops/*/test_*.py")}
    # Each may leave the others more than an equal share.
    shares = [1 / left + 0.2 for left in range(len(tested) + 2, 2, -1)]
    return [
        *(
            suite(family, [f"tests/ops/{family}"], "cuda and not slow", most)
            for family, most in zip(sorted(tested), shares, strict=True)
        ),
        suite("models", ["tests/models"], "cuda and not slow", 0.7),
        suite("large", ["tests/ops"], "cuda and slow", 1.0),
    ]


def find_device() -> dict[str, str] | None:
    """Facts of the first GPU, or None. Asks torch in a process of its own, since it may be what
    is broken; the driver's tool tells the clocks."""
    code = (
        "import torch; p = torch.cuda.get_device_properties(0); "
        "print(p.name, f'{p.major}.{p.minor}', torch.__version__, sep='\\n')"
    )
    asked = _said([sys.executable, "-c", code])
    if asked is None:
        return None
    facts = dict(zip(("name", "capability", "torch"), asked[-3:], strict=True))
    query = "driver_version,clocks.max.sm,clocks.max.mem,clocks.sm,clocks.mem"
    told = _said(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    values = told[0].split(",") if told else []
    return facts | dict(zip(query.split(","), map(str.strip, values), strict=False))


def _said(command: list[str]) -> list[str] | None:
    """Its lines; None where it fails, or hangs, which is to cost seconds and not the visit."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()


class Check:
    """The stages of one folder; ``facts`` is what check.json holds."""

    def __init__(self, out: Path, device: str) -> None:
        self.out, self.device = out, device
        found = find_device() if device == "cuda" else {"name": "cpu"}
        self.facts: dict[str, Any] = record.read(out / CHECK) or {"stages": {}}
        before = self.facts.get("device")
        if before and found and before["name"] != found["name"]:
            raise ValueError(
                f"{out}: holds results of {before['name']}; expected those of {found['name']}"
            )
        self.facts |= {
            "device": found,
            "commit": commit(),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "python": sys.version.split()[0],
        }
        if found is not None:
            with suppress(metadata.PackageNotFoundError):
                found["triton"] = metadata.version("triton")
        self.save()

    def save(self) -> None:
        record.write(self.out / CHECK, self.facts)

    def run(self, stages: Sequence[str], seconds: float, resume: bool) -> None:
        end = time.monotonic() + seconds
        known = self.facts["stages"]
        done = [stage for stage in stages if resume and known.get(stage, {}).get("status") == OK]
        for stage in done:
            print(f"{stage}: ended well before", flush=True)
        to_run = [stage for stage in stages if stage not in done]
        for number, stage in enumerate(to_run):
            if not resume:
                known.pop(stage, None)
                (self.out / file_of(stage)).unlink(missing_ok=True)
            # What earlier stages left over is shared out again.
            weights = [STAGES[each] for each in to_run[number:]]
            left = max(0.0, end - time.monotonic())
            self.run_stage(stage, left * weights[0] / sum(weights))
            print(self.line(stage), flush=True)

    def run_stage(self, stage: str, seconds: float) -> None:
        before = self.facts["stages"].get(stage, {}).get("commands", [])
        done = {each["command"]: each for each in before if each["status"] == OK}
        facts: dict[str, Any] = {
            "status": RUNNING, "seconds": 0.0, "share_seconds": round(seconds, 1), "commands": [],
        }  # fmt: skip
        self.facts["stages"][stage] = facts
        if self.facts["device"] is None:
            facts["status"] = NO_DEVICE
        self.save()
        if facts["status"] == NO_DEVICE:
            return
        log = self.out / LOG
        with log.open("a") as file:
            file.write(f"\n===== {stage} =====\n")
        log_start, start = log.stat().st_size, time.monotonic()
        statuses = []
        for command in commands(stage, self.device, self.out):
            text = shlex.join(command.argv)
            if text in done:
                facts["commands"].append(done[text])
                statuses.append(OK)
                continue
            left = seconds - (time.monotonic() - start)
            began = time.monotonic()
            status = run(command, self._environment(), log, min(left, command.most * seconds))
            statuses.append(status)
            spent = round(time.monotonic() - began, 1)
            facts["commands"].append({"command": text, "status": status, "seconds": spent})
            facts["seconds"] = round(time.monotonic() - start, 1)
            self.save()
        facts["status"] = next((each for each in statuses if each != OK), OK)
        facts["log_tail"] = log.read_bytes()[log_start:][-TAIL:].decode(errors="replace")
        self.save()

    def line(self, stage: str) -> str:
        facts, rows = self.facts["stages"][stage], self._record(stage)
        cases = ""
        if rows is not None and rows.planned:
            cases = f", {len(rows.rows)} of {rows.planned} cases"
        return f"{stage}: {facts['status']}, {facts['seconds']:.0f} s{cases}"

    def _record(self, stage: str) -> Record | None:
        return None if stage == "build" else Record(self.out / file_of(stage))

    def _environment(self) -> dict[str, str]:
        made = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        made |= {"PYTHONDONTWRITEBYTECODE": "1", "SCRN_OPS_CUDA": str(int(self.device == "cuda"))}
        if self.device == "cpu":
            made["OMP_NUM_THREADS"] = "1"  # a rehearsal is to be no burden
        if "capability" in self.facts["device"]:
            made["TORCH_CUDA_ARCH_LIST"] = self.facts["device"]["capability"]
        return made


def run(command: Command, environment: dict[str, str], log: Path, seconds: float) -> str:
    with log.open("a") as file:
        file.write(f"$ {shlex.join(command.argv)}\n")
        file.flush()
        if seconds <= 1:
            file.write("not started: the time is up\n")
            return NOT_STARTED
        try:
            process = subprocess.Popen(
                command.argv, cwd=ROOT, env={**environment, **command.environment}, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        except OSError as error:
            file.write(f"{error}\n")
            return f"failed: {error}"
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            file.write("killed: the time is up\n")
            return OUT_OF_TIME
    return OK if status == 0 else f"failed: exit status {status}"


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Where the script is killed, nothing must go on writing to its files."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the whole call (default 9)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda",
                        help="cpu rehearses on a machine without a GPU")  # fmt: skip
    parser.add_argument("--resume", action="store_true",
                        help="skip what has ended well in DIR, go on within stages")  # fmt: skip
    options = parser.parse_args(argv)
    unknown = [stage for stage in options.stages if stage not in STAGES]
    if unknown:
        parser.error(f"STAGE: expected some of {', '.join(STAGES)}, got {', '.join(unknown)}")
    if not options.minutes > 0:
        parser.error(f"--minutes: expected more than 0, got {options.minutes:g}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    start = time.monotonic()
    options = parse(argv)
    stages = [stage for stage in STAGES if stage in options.stages or not options.stages]
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        check = Check(out, options.device)
    except ValueError as error:
        print(f"gpu_check.sh: {error}", file=sys.stderr)
        return 2
    check.run(stages, 60 * options.minutes - (time.monotonic() - start), options.resume)
    return 0


if __name__ == "__main__":
    sys.exit(main())
