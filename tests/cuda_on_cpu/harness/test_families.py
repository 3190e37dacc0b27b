"""A family of CUDA kernels that nothing runs on the CPU, or whose work is not on record, is an
error: nobody has to remember a list."""

from __future__ import annotations

import importlib
import json

import pytest

from . import build, coverage, work
from .session import KIND, load_device

CSRC = build.ROOT / "csrc"


def test_every_family_of_kernels_is_run() -> None:
    found = {path.relative_to(CSRC).parts[0] for path in CSRC.glob("*/**/*.cu")}
    assert found - {"common"} == set(build.families())


@pytest.mark.parametrize("family", build.families())
@pytest.mark.parametrize("file", ["cases.py", "reference.py", "test_coverage.py", "test_work.py"])
def test_every_family_has_its_tests(family: str, file: str) -> None:
    assert (build.FOLDER / family / file).is_file()


@pytest.mark.parametrize("family", build.families())
def test_the_record_of_work_has_exactly_the_jobs(family: str) -> None:
    tests = importlib.import_module(f"..{family}.test_work", __package__)
    assert list(json.loads(work.record_of(family).read_text())["jobs"]) == list(tests.JOBS)


def test_the_kernels_in_common_are_run() -> None:
    """By one family or another, whose own tests see to it that it runs all that it compiles."""
    modules = [coverage.compiled(load_device(family, KIND)) for family in build.families()]
    compiled = {name.split("<")[0] for module in modules for name in module.values()}
    assert coverage.defined_in("common") <= compiled
