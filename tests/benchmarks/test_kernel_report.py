"""The report on compiled kernels: its reading, its arithmetic, and the budgets that hold in CI."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import kernel_report as command
from benchmarks.compiled import library, rules
from benchmarks.compiled.kernels import Kernel, count_opcodes, parse_name
from benchmarks.compiled.library import CannotReport, read
from benchmarks.compiled.loops import loop_loads
from benchmarks.compiled.occupancy import LIMITS, occupancy
from benchmarks.ops import derived
from benchmarks.ops.cases.srm import SampledCase

sys.path.insert(0, str(library.ROOT / "tools"))
import toolkit

SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;      /* 0x00000a00ff017b8 */
        /*0070*/              @!P0 LDG.E.128 R4, [R2.64] ;     /* 0x00000000 */
        /*0080*/              @UP1 LDG.E R4, [R2.64] ;         /* 0x00000000 */
        /*0090*/                   STG.E.U16 [R2.64], R4 ;
        /*00a0*/               @P3 STL.64 [R1], R4 ;
        /*00b0*/                   REDG.E.ADD.F32x4.FTZ.RN.STRONG.GPU desc[UR12][R10.64], R4 ;
        /*10c0*/                   RED.E.ADD.F64.RN.STRONG.GPU [R10.64], R4 ;
        /*10d0*/                   SHFL.IDX PT, R5, R4, RZ, 0x1f ;
        /*10e0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*10f0*/                   EXIT ;
"""

PLAIN = Kernel("srm", "backward_window", "fp32", 32, 90, 128, 150, 0, 17472, 0, Counter())


def test_instructions_are_counted() -> None:
    kernel = replace(PLAIN, opcodes=count_opcodes(SASS.splitlines()))
    assert kernel.loads == {128: 1, 32: 1}
    assert kernel.stores == {16: 1}
    assert kernel.local_accesses == 1
    assert kernel.reductions == {"F32x4": 1, "F64": 1}
    assert [kernel.count(each) for each in ("SHFL", "BAR", "ATOMS")] == [1, 1, 0]
    facts = json.loads(json.dumps(kernel.facts()))
    assert facts["opcodes"]["LDG.E.128"] == facts["opcodes"]["EXIT"] == 1
    assert sum(facts["opcodes"].values()) == 10


# A loop in a loop, and code behind the end that is jumped to and comes back.
LOOPS = """
        /*0000*/                   LDG.E R2, [R2.64] ;
        /*0010*/                   LDG.E R3, [R2.64] ;
        /*0020*/                   LDG.E R4, desc[UR4][R20.64] ;
        /*0030*/                   LDG.E.128 R8, desc[UR4][R22.64+0x10] ;
        /*0040*/              @!P0 BRA 0xd0 ;
        /*0050*/              @!P1 LDG.E.U16 R5, desc[UR4][R24.64] ;
        /*0060*/                   FFMA R6, R1, {used}, R6 ;
        /*0070*/                   LDG.E R7, desc[UR4][R20.64] ;
        /*0080*/                   FADD R6, R6, R7 ;
        /*0090*/               @P0 BRA 0x20 ;
        /*00a0*/                   IADD3 R20, R20, 0x1, RZ ;
        /*00b0*/               @P1 BRA P2, 0x0 ;
        /*00c0*/                   EXIT ;
        /*00d0*/                   FMUL R1, R1, R1 ;
        /*00e0*/                   BRA 0x50 ;
        /*00f0*/                   BRA 0xf0;
"""


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ("R4", (3,)),
        ("R11", (3,)),
        ("R12", (4,)),
    ],
)
def test_loads_under_way(used: str, expected: tuple[int, ...]) -> None:
    """Until the first use, the last of a wide load's registers included, of the inner loop only."""
    assert loop_loads(LOOPS.format(used=used).splitlines()) == expected


def test_loads_for_the_next_turn_are_under_way() -> None:
    lines = [
        "/*0000*/ LDG.E R4, [R20.64] ;",
        "/*0010*/ FADD R6, R6, R5 ;",
        "/*0020*/ LDG.E R5, [R20.64] ;",
        "/*0030*/ @P0 BRA 0x0 ;",
        "/*0040*/ FADD R6, R6, R4 ;",
        "/*0050*/ EXIT ;",
    ]
    assert loop_loads(lines) == (2,)
    assert loop_loads(lines[:3] + lines[4:]) == ()


def test_a_jump_back_from_behind_the_end_is_no_loop() -> None:
    lines = [
        "/*0000*/ LDG.E R4, [R20.64] ;",
        "/*0010*/ @P0 BRA 0x40 ;",
        "/*0020*/ LDG.E R5, [R20.64] ;",
        "/*0030*/ EXIT ;",
        "/*0040*/ FMUL R6, R6, R6 ;",
        "/*0050*/ BRA 0x20 ;",
    ]
    assert loop_loads(lines) == ()


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (
            "void scrn::cuda::narrow_kernel<__nv_bfloat16>(float const*, __nv_bfloat16*, long)",
            ("common", "narrow", "bf16", 0),
        ),
        (
            "void scrn::srm::cuda::list_spans_kernel<long>(long const*, scrn::Span<long>*, long)",
            ("srm", "list_spans", "", 64),
        ),
        ("scrn::cuda::zero_kernel(void*, long)", ("common", "zero", "", 0)),
        (
            "void scrn::srm::cuda::unit_sums_kernel<__half, int>(scrn::P, scrn::Lists<std::c<(is<d,"
            " f>)(0), double, float>::type, int>, int const*)",
            ("srm", "unit_sums", "fp16", 32),
        ),
    ],
)
def test_names(signature: str, expected: tuple[str, str, str, int]) -> None:
    assert parse_name(signature) == expected


CASES = [
    (architecture, threads, registers, shared)
    for architecture in sorted(LIMITS)
    for threads in (32, 96, 128, 160, 256, 512, 1024)
    for registers in (16, 32, 33, 64, 80, 81, 128, 168, 169, 255)
    for shared in (0, 1, 4096, 17472, 46784, 48 << 10)
    if registers * threads <= 65536
]

PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include "cuda_occupancy.h"
int main() {
  int major, minor, threads, warps, registers; size_t per_sm, shared;
  while (scanf("%d %d %d %zu %d %d %zu", &major, &minor, &warps, &per_sm, &threads, &registers,
               &shared) == 7) {
    cudaOccDeviceProp device;
    device.computeMajor = major; device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024; device.maxThreadsPerMultiprocessor = warps * 32;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32; device.numSms = 1;
    device.sharedMemPerBlock = 48 << 10; device.sharedMemPerMultiprocessor = per_sm;
    device.sharedMemPerBlockOptin = per_sm - 1024; device.reservedSharedMemPerBlock = 1024;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024; kernel.numRegs = registers; kernel.sharedSizeBytes = shared;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = per_sm - 1024 - shared; kernel.numBlockBarriers = 1;
    cudaOccDeviceState state; state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0))
      return 1;
    printf("%d\\n", result.activeBlocksPerMultiprocessor);
  }
}
"""


def nvidia_header() -> Path:
    for _, root in toolkit.candidate_roots({}, sorted(Path(sys.prefix).glob("**/nvidia/cu*"))):
        if (root / "include" / "cuda_occupancy.h").is_file():
            return root / "include"
    pytest.skip("no cuda_occupancy.h: no CUDA toolkit and no nvidia-cuda-runtime package")


def test_occupancy_is_what_nvidia_computes(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source, program = tmp_path / "occupancy.cpp", tmp_path / "occupancy"
    source.write_text(PROGRAM)
    include = f"-I{nvidia_header()}"
    subprocess.run(["g++", "-w", include, "-o", str(program), str(source)], check=True)
    lines = [
        f"{arch // 10} {arch % 10} {LIMITS[arch].warps} {LIMITS[arch].shared_bytes} "
        f"{threads} {registers} {shared}"
        for arch, threads, registers, shared in CASES
    ]
    run = subprocess.run(
        [program], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    expected = list(map(int, run.stdout.split()))
    assert len(expected) == len(CASES)
    assert max(expected) == 32
    for case, blocks in zip(CASES, expected, strict=True):
        if blocks == 0:
            with pytest.raises(ValueError, match="does not fit"):
                occupancy(*case)
        else:
            assert occupancy(*case).blocks == blocks, case


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="architecture: expected one of"):
        occupancy(70, 128, 32, 0)


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    try:
        return read()
    except CannotReport as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_budgets_hold(kernels: list[Kernel]) -> None:
    assert len({kernel.architecture for kernel in kernels}) == len(library.ARCHITECTURES)
    assert rules.violations(kernels, rules.load()) == []


@pytest.mark.slow
def test_every_kernel_is_read(kernels: list[Kernel]) -> None:
    """Names from the sources; what the compiler made of them is there for each architecture."""
    sources = library.ROOT.glob("csrc/**/*.cuh")
    text = "\n".join(path.read_text() for path in sources)
    names = set(re.findall(r"__global__[^{;]*?(\w+)_kernel\(", text))
    assert len(names) >= 10
    for architecture in library.ARCHITECTURES:
        assert {each.name for each in kernels if each.architecture == architecture} == names


@pytest.mark.slow
def test_the_kernels_of_a_case_are_in_the_library(
    kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = derived.H200_ARCHITECTURE
    compiled = [each for each in kernels if each.architecture == architecture]
    monkeypatch.setattr(derived, "_compiled", lambda: compiled)
    for layout in ("nchw", "channels_last"):
        case = SampledCase(
            "semantic_refine", (64, 128), (128, 256), layout=layout, direction="both"
        )
        ((_, *_, shares),) = derived.derive([case])
        assert shares.keys() == case.kernels.keys()
        assert all(0.1 < share <= 1 for share in shares.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"registers": 169}, "169 registers, at most 168 allowed"),
        ({"registers": 255}, "2 blocks to a multiprocessor, at least 3 allowed"),
        ({"stack_bytes": 8}, "8 bytes of stack, at most 0 allowed"),
        ({"spills": 2}, "2 spills, at most 0 allowed"),
        ({"opcodes": {"STL.64": 3}}, "3 accesses to local memory, at most 0 allowed"),
        ({"opcodes": {"LD.E": 1}}, "1 generic accesses, at most 0 allowed"),
        ({"opcodes": {"LDG.E.64": 3}}, "64 bits in the widest load, at least 128 allowed"),
        ({"opcodes": {"REDG.E.ADD.F32.FTZ": 3}}, "no F32x4 reductions"),
    ],
)
def test_what_exceeds_a_budget_is_named(change: dict[str, object], message: str) -> None:
    if "opcodes" in change:
        change = {"opcodes": Counter(change["opcodes"])}
    found = rules.violations([replace(PLAIN, **change)], rules.load())
    assert f"backward_window fp32 int32 on sm_90: {message}" in found


def test_a_family_has_no_budgets_of_another() -> None:
    registers, common = rules.Rule(("*",), "srm", max_registers=100), rules.Rule(("*",))
    own, other = (replace(PLAIN, family=family) for family in ("srm", "depthwise"))
    assert len(rules.violations([own], [registers])) == 1
    assert rules.violations([other], [registers]) == ["budget for *: there is no such kernel"]
    spilling = replace(other, spills=1)
    assert len(rules.violations([spilling], [replace(common, max_spills=0)])) == 1


def test_loads_in_series_exceed_a_budget() -> None:
    rule = rules.Rule(("backward_*",), min_loop_loads=20)
    for loads, complaints in (((20, 24), 0), ((24, 10), 1), ((), 1)):
        found = rules.violations([replace(PLAIN, loop_loads=loads)], [rule])
        assert len(found) == complaints
    assert "0 loads under way at a time in a loop, at least 20 allowed" in found[0]


def test_loads_byte_by_byte_exceed_a_budget() -> None:
    rule = rules.Rule(("backward_*",), min_narrowest_load_bits=16)
    kernel = replace(PLAIN, opcodes=Counter({"LDG.E.128": 1, "LDG.E.U8": 4}))
    (found,) = rules.violations([kernel], [rule])
    assert "8 bits in the narrowest load, at least 16 allowed" in found


def test_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "read", lambda library, architectures: [PLAIN])
    path = tmp_path / "srm.json"
    figures = tmp_path / "figures.json"
    path.write_text(json.dumps([{"kernels": ["backward_*"], "max_registers": 150}]))
    files = ["--budgets", str(path), "--json", str(figures)]
    assert command.main(files) == 0
    table = capsys.readouterr().out
    assert re.search(r"\| +backward_window +\| +fp32 +\| +32 +\| +150 +\|", table)
    assert json.loads(figures.read_text())[0]["occupancy"]["blocks"] == 3
    path.write_text(json.dumps([{"kernels": ["backward_*", "gone"], "max_registers": 149}]))
    assert command.main(files) == 1
    output = capsys.readouterr().out
    assert "150 registers, at most 149 allowed" in output
    assert "budget for gone: there is no such kernel" in output
    assert command.main(["--library", "nowhere.so", "--filter", "no such name"]) == 2


def test_a_budget_file_with_an_unknown_key(tmp_path: Path) -> None:
    path = tmp_path / "budgets.json"
    path.write_text(json.dumps([{"kernels": ["*"], "max_register": 150}]))
    with pytest.raises(ValueError, match="max_register"):
        rules.load(path)


def test_without_a_library() -> None:
    with pytest.raises(CannotReport, match=r"nowhere\.so is not there"):
        read(Path("nowhere.so"))
