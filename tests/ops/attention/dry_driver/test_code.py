"""What the compiler makes of the kernels that the launchers launch, and the reading of it."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

pytest.importorskip("triton")
from benchmarks.compiled.attention import code, report
from benchmarks.compiled.attention.calls import Case
from benchmarks.compiled.attention.record import Kernel

from .recorded import chunked, record


@cache
def kernels(case: Case) -> list[report.KernelRow]:
    return report.kernel_rows(case, record(case).launches)


def test_memory_of_a_thread_and_a_block(case):
    for row in kernels(case):
        assert not row.complaint, row.kernel
        assert 0 < row.code.registers <= 255, row.kernel
        assert row.code.registers * row.compiled.metadata.num_warps * 32 <= 65536, row.kernel


def test_no_matrix_is_read_or_written_by_two_bytes(case):
    narrow = [(row.kernel, dict(row.code.narrow)) for row in kernels(case) if row.code.narrow]
    assert not narrow


def test_products_are_made_by_tensor_cores(case):
    products = [row for row in kernels(case) if row.code.dots]
    assert products
    for row in products:
        assert row.on_tensor_cores, f"{row.kernel}: {row.code.products} for {row.code.dots} dots"


PTX = """
\t.param .u64 .ptr .global .align 1 kernel_param_0,
\t.loc\t1 45 20 // columns.py:45:20
\t@%p2 ld.global.v4.b32 { %r25, %r26, %r27, %r28 }, [ %rd32 + 0 ];
\t@!%p2 ld.global.L1::evict_last.v2.b32 { %r25, %r26 }, [ %rd32 + 0 ];
\tld.global.nc.b16 { %rs1 }, [ %rd3 + 0 ];
\t.loc\t2 29 12, function_name $L__info_string0, inlined_at 1 74 39 // dot.py:29:12
\tst.global.b16 [ %rd3 + 0 ], { %rs1 };
\tcp.async.cg.shared.global [ %r9 + 0 ], [ %rd5 + 0 ], 0x10, %r11;
\tcp.async.ca.shared.global [ %r9 + 0 ], [ %rd5 + 0 ], 0x4, %r11;
\tcp.async.commit_group;
\tld.shared.b16 %rs5, [%r4];
\tld.param.b64 %rd1, [kernel_param_0];
\tst.global.b8 [ %rd3 + 0 ], { %rs1 }; // st.global.b64
"""
TTIR = """
#loc = loc("/somewhere/columns.py":45:20)
#loc1 = loc("tile"(#loc))
#loc2 = loc("/somewhere/dot.py":29:12)
#loc3 = loc(callsite(#loc2 at #loc1))
    %t = tt.load %p, %m, %c : tensor<64x64x!tt.ptr<bf16>> loc(#loc1)
    %u = tt.load %p, %m, %c : tensor<64x!tt.ptr<f32>> loc(#loc)
    tt.store %0, %1, %2 : tensor<64x!tt.ptr<bf16>> loc(#loc3)
    %v = tt.load %p : !tt.ptr<f32> loc("/somewhere/unary.py":3:1)
"""


def test_accesses_are_read():
    found = Counter(code.accesses(PTX))
    columns, dot = ("columns.py", 45), ("dot.py", 29)
    assert found == {
        ("ld", 16, columns): 1,
        ("ld", 8, columns): 1,
        ("ld", 2, columns): 1,
        ("st", 2, dot): 1,
        ("cp.async", 16, dot): 1,
        ("cp.async", 4, dot): 1,
        ("st", 1, dot): 1,
    }
    with pytest.raises(ValueError, match="unknown width"):
        list(code.accesses("ld.global.new { %r1 }, [ %rd1 ];"))


def test_axes_of_accesses_are_read():
    assert code.ranks(TTIR) == {("columns.py", 45): 2, ("dot.py", 29): 1, ("unary.py", 3): 0}


def test_an_access_that_the_source_does_not_show_counts_as_one_of_a_matrix(monkeypatch):
    kernel = record(chunked("forward")).launches[0].kernel
    unknown = Kernel.__new__(Kernel)
    vars(unknown).update(vars(kernel), ptx=PTX, ttir="", hash="unknown")
    monkeypatch.setattr(code, "_KNOWN", {})
    narrow = code.code_of(unknown).narrow
    assert narrow == {"columns.py:45 ld": 1, "dot.py:29 st": 2}
    vars(unknown).update(ttir=TTIR, hash="known")
    assert code.code_of(unknown).narrow == {"columns.py:45 ld": 1}
