"""Mistakes in the attention's Triton kernels, which must be noticed in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.mutation import ROOT, Mutation
from ...engine.suite import Stage, Suite
from .chosen import CHOSEN, FOLDER

TESTS = ROOT / "tests" / "ops" / "attention" / "kernels"
DRY = ROOT / "tests" / "ops" / "attention" / "dry_driver"
INTERPRETER = (("TRITON_INTERPRET", "1"), ("OMP_NUM_THREADS", "1"))
QUICK = "test_scales and -0.7"
CHUNKS = "test_small_tiles and float32 or test_half_types_small_tiles and bfloat16"


def stages(mutation: Mutation) -> Sequence[Stage]:
    """First a tiny shape, then one of several chunks, then everything; of what the interpreter
    never runs, the tests with a stand-in for Triton's driver."""
    if mutation.file.endswith("replay.py"):
        return (Stage("repeated", (str(DRY / "test_repeated.py"),), seconds=600),)
    accuracy = str(TESTS / "test_accuracy.py")
    quick = Stage("quick", (accuracy, "-k", QUICK), environment=INTERPRETER, seconds=600)
    chunks = Stage("chunks", (accuracy, "-k", CHUNKS), environment=INTERPRETER, seconds=900)
    everything = (accuracy, str(TESTS / "test_registration.py"))
    return quick, chunks, Stage("everything", everything, environment=INTERPRETER, seconds=1800)


SUITE = Suite(
    name="attention_triton",
    title="Triton kernels of the attention",
    sources=(f"{FOLDER}/*.py",),
    tests=(
        "tests/ops/common/maps.py",
        "tests/ops/attention/*.py",
        "tests/ops/attention/kernels/*.py",
        "tests/ops/attention/dry_driver/test_repeated.py",
    ),
    chosen=CHOSEN,
    drawn=30,
    seed=1,
    stages=stages,
    ci=1,
)
