"""Costs and launches by hand; the report, the pictures and the README's section from the JSON."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import readme, summary
from benchmarks.common import checkout, environment, pages, timing
from benchmarks.common.yardstick import COPY
from benchmarks.compiled.kernels import Kernel
from benchmarks.compiled.library import CannotReport
from benchmarks.ops import derived
from benchmarks.ops.case import BASELINE, OURS
from benchmarks.ops.cases.attention import AttentionCase
from benchmarks.ops.cases.srm import SampledCase
from benchmarks.ops.cost import cost, launches
from benchmarks.ops.report import page as pages_of_ops
from benchmarks.ops.results import WRONG, Document, Results, Row

REFINE = SampledCase("semantic_refine", (64, 128), (128, 256), layout="channels_last")
SAMPLE = SampledCase(
    "offset_sample", (64, 128), (64, 128), batch=2, dtype=torch.bfloat16, direction="backward"
)
ATTEND = AttentionCase(2048, 256, 1024, dtype=torch.bfloat16)
SAMPLER = "sample_forward_channels_last"
REAL_LIBRARY = derived._compiled


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    """A library of few kernels, since reading the real one takes half a minute: with that one
    test_kernel_report.py asks for the occupancy."""
    facts = (90, 128, 72, 0, 1024, 0, Counter())
    kernels = (
        Kernel("srm", SAMPLER, "fp32", 32, *facts),
        Kernel("srm", SAMPLER, "fp16", 32, 90, 128, 32, *facts[3:]),
        Kernel("srm", SAMPLER, "fp32", 64, 90, 128, 32, *facts[3:]),
        Kernel("srm", "aggregate_backward", "fp32", 32, *facts),
    )
    monkeypatch.setattr(derived, "_compiled", lambda: kernels)


def by_hand():
    pixels, low = 128 * 256, 64 * 128
    # Read: low, skip, 2 offsets, 9 logits. Written: the output. In float32.
    refine_bytes = 4 * (128 * low + 128 * pixels + 11 * pixels + 128 * pixels)
    # 9 products and sums and the skip for each channel; Eq. 3 and its softmax.
    refine_flops = pixels * (128 * 19 + 36 + 36)
    yield pytest.param(REFINE, refine_bytes, refine_flops, 15 + 1, 1, id="refine forward")
    pixels = 2 * 64 * 128
    # Read: the gradient and the input in bfloat16, the offset in float32; the gradients written.
    sample_bytes = 2 * 128 * pixels + 2 * (2 * 128 * pixels + 4 * 2 * pixels)
    # 4 products and sums for the input and for each of x and y.
    sample_flops = pixels * 128 * 8 * 3
    # Rounding back, the sampler's gradient (zeros first), rounding; each of x and y scaled and
    # put into zeros; their sum.
    launched = 1 + 2 + 1 + 2 * (1 + 2) + 1
    # Zeros; one kernel for each of the gradients; rounding.
    yield pytest.param(SAMPLE, sample_bytes, sample_flops, launched, 4, id="sample backward")
    n, dk, dv = 2048, 256, 1024
    # q and k, the shared logits, v and the output.
    attend_bytes = 2 * (2 * n * dk + n + n * dv + n * dv)
    # Scores and sums of values, and the shared sum.
    attend_flops = 2 * n * n * (dk + dv) + 2 * n * dv
    yield pytest.param(ATTEND, attend_bytes, attend_flops, None, None, id="attention forward")


@pytest.mark.parametrize(("case", "moved", "flops", "eager", "ours"), list(by_hand()))
def test_derived_table_by_hand(case, moved, flops, eager, ours):
    (found,) = derived.derive([case])
    assert found.cost.bytes == moved
    assert found.cost.flops == pytest.approx(flops, rel=2e-3)  # the attention counts a little more
    rate = 67e12 if case.dtype == torch.float32 else 788e12
    assert found.floor_seconds == max(moved / 4.3e12, found.cost.flops / rate)
    assert found.launches == ours
    if eager is not None:
        assert found.eager_launches == eager


def test_launches_grow_with_the_batch_only_where_the_chain_goes_by_image():
    one, eight = REFINE, replace(REFINE, batch=8)
    assert launches(eight, BASELINE) == launches(one, BASELINE) + 7
    assert launches(eight, OURS) == launches(one, OURS) == 1
    backward = replace(REFINE, direction="backward")
    assert launches(backward, OURS) == 3  # zeros, window, Eq. 3
    assert launches(replace(backward, layout="nchw"), OURS) == 4
    assert launches(replace(backward, dtype=torch.float16), OURS) == 4
    assert launches(replace(REFINE, direction="both"), OURS) == 4


def test_occupancy_is_that_of_the_kernels_that_run():
    assert REFINE.kernels == {SAMPLER: "fp32"}
    both = replace(REFINE, direction="both", layout="nchw")
    assert tuple(both.kernels) == (
        *("sample_forward_planes", "offset_grad_planes", "scatter_planes", "aggregate_backward"),
    )
    ((_, *_, shares),) = derived.derive([REFINE])
    assert shares == {SAMPLER: 28 / 64}  # warps, as many as the registers of 7 blocks allow


def test_the_library_is_read_for_one_architecture(monkeypatch):
    asked = []
    monkeypatch.setattr(derived, "read", lambda library, wanted: asked.append(wanted) or [SAMPLE])
    assert REAL_LIBRARY.__wrapped__() == (SAMPLE,)
    assert asked == [[90]]

    def refuse(library, wanted):
        raise CannotReport("no cuobjdump")

    monkeypatch.setattr(derived, "read", refuse)
    assert REAL_LIBRARY.__wrapped__() == ()


def planted(
    folder: Path, *, losing: bool = True, refused: bool = False, left_out: tuple[str, ...] = ()
) -> None:
    """results.json of two cases, of which one loses."""
    rows = []
    for case, eager in ((REFINE, 5.0), (replace(REFINE, layout="nchw"), 0.8 if losing else 2.0)):
        for name, seconds in ((OURS, 1e-3), (BASELINE, eager * 1e-3), (COPY, 5e-4)):
            row = Row(case, 2, name, timing=timing.Timing(seconds, seconds, seconds, 5))
            row.peak_bytes = 17_000_000 if name == OURS else 51_000_000
            rows.append(row)
    if refused:
        rows[0].timing, rows[0].status, rows[0].note = None, WRONG, "output is off by 1"
    results = Results(rows, {(torch.float32, 2): 1e12})
    facts = environment.describe("cpu") | {"left_out": list(left_out)}
    Document(facts, results).write(folder / summary.RESULTS)


def test_summary_draws_the_report_and_says_where_it_is(tmp_path, capsys, compact):
    planted(tmp_path)
    assert summary.main(["--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in ("report.md", "speedups.png", "roofline.png", "memory.png"):
        assert str(tmp_path / name) in out
    for name in ("speedups.png", "roofline.png", "memory.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 200
    text = compact((tmp_path / "report.md").read_text())
    slower, faster = text.index("slower than something"), text.index("faster than everything")
    assert slower < text.index(f"| {replace(REFINE, layout='nchw').name} | 2 | fused") < faster
    assert "## Derived, not measured" in text
    assert "| 0.80 |" in text  # eager, where it is faster
    assert "50 %" in text  # of the copy


def test_summary_of_a_refused_row_exits_with_one(tmp_path, capsys):
    planted(tmp_path, refused=True)
    assert summary.main(["--out", str(tmp_path)]) == 1
    assert "refused" in capsys.readouterr().out
    assert "**wrong**: output is off by 1" in (tmp_path / "report.md").read_text()


def test_summary_without_a_run_says_what_to_do(tmp_path, capsys):
    assert summary.main(["--out", str(tmp_path)]) == 2
    assert "python -m benchmarks writes it" in capsys.readouterr().err


def test_losing_rows_are_drawn_first(tmp_path):
    planted(tmp_path)
    read = Document.load(tmp_path / summary.RESULTS)
    assert next(case.layout for case in read.results.shown()) == "nchw"
    assert read.results.lead(REFINE, 2) == pytest.approx(0.8)


def test_readme_section_is_written_between_its_markers(tmp_path):
    planted(tmp_path)
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n")
    arguments = ["--results", str(tmp_path), "--page", str(page)]
    assert readme.main([*arguments, "--check"]) == 1
    assert readme.main(arguments) == 0
    assert readme.main([*arguments, "--check"]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- performance -->\n")
    assert text.endswith("<!-- /performance -->\nafter\n")
    assert "old" not in text
    assert "x0.8" in text
    assert "x5.0" in text
    assert "17.0 / 51.0" in text


def test_lines_on_speed_have_the_smallest_and_the_largest_lead(tmp_path):
    planted(tmp_path)
    page = tmp_path / "README.md"
    page.write_text("".join(pages.marks(readme.SPEED)))
    nothing = tmp_path / "gpu"
    nothing.mkdir()
    shutil.copy2(readme.GPU_RESULTS / readme.PREDICTIONS, nothing)
    assert readme.main(["--results", str(tmp_path), "--page", str(page),
                        "--gpu-results", str(nothing)]) == 0  # fmt: skip
    assert "`semantic_refine` forward x0.8 to x5.0." in page.read_text()
    page.write_text("no marks")
    with pytest.raises(ValueError, match="expected <!-- speed --> or <!-- performance"):
        readme.main(["--results", str(tmp_path), "--page", str(page)])


def test_readme_says_what_was_not_measured(tmp_path):
    planted(tmp_path, left_out=("whitened_attention N=920",))
    text = pages_of_ops.readme(Document.load(tmp_path / summary.RESULTS), None)
    assert "Not measured, the time was up: whitened_attention N=920." in text
    assert "deform_conv2d" not in text  # no row of it was timed
    assert f"{OURS} is the fastest in 0 of the 1 cases" in text


@pytest.mark.parametrize("commit", [None, "0123456789ab, changed"])
def test_a_run_of_what_nobody_can_check_out_is_not_kept(tmp_path, monkeypatch, capsys, commit):
    monkeypatch.setattr(checkout, "commit", lambda: commit)
    planted(tmp_path / "run")
    kept = tmp_path / "kept"
    assert readme.main(["--keep", str(tmp_path / "run"), "--results", str(kept)]) == 2
    assert f"expected a run of a commit, got {commit!r}" in capsys.readouterr().err
    assert not kept.exists()


def test_a_run_is_kept_on_demand(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "commit", lambda: "0123456789ab")
    planted(tmp_path / "run")
    page = tmp_path / "README.md"
    page.write_text("".join(pages.marks(readme.SECTION)))
    kept = tmp_path / "kept"
    arguments = ["--keep", str(tmp_path / "run"), "--results", str(kept), "--page", str(page)]
    assert readme.main(arguments) == 0
    assert [path.name for path in kept.iterdir()] == ["results.json"]
    assert "x5.0" in page.read_text()


def test_a_page_without_its_marks_is_refused():
    begin, end = pages.marks("here")
    assert pages.filled(f"a {begin} old {end} b", "here", "new\n") == f"a {begin}\n\nnew\n\n{end} b"
    for page in ("", begin, f"{begin}{begin}{end}"):
        with pytest.raises(ValueError, match="once in the page"):
            pages.filled(page, "here", "new")
    with pytest.raises(ValueError, match="got it behind"):
        pages.filled(f"{end} {begin}", "here", "new")


@pytest.mark.skipif(not readme.RESULTS.is_dir(), reason="no results are kept")
def test_readme_holds_what_the_results_say():
    assert readme.main(["--check"]) == 0


def test_network_lines(compact):
    variant = {"name": "eager ops", "seconds": [2.0, 1.0], "peak_bytes": 5e8}
    parts = {"backbone": 0.5, "SRM": 0.4, "DNL": 0.1}
    sizes = [{"size": [360, 480], "wrong": [], "variants": [{**variant, "parts": parts}]}]
    facts = {"backbone": "mscan_s", "image": "a photo", "threads": 2, "date": "d", "commit": "c"}
    text = "\n".join(pages_of_ops.network_lines(json.loads(json.dumps(
        {"environment": facts, "sizes": sizes}
    ))))  # fmt: skip
    assert "| eager ops | 1000 | 1.00 | 1.00 | 500 | 40.0 %, 10.0 % |" in compact(text)
    sizes[0]["wrong"] = ["eager ops"]
    text = "\n".join(pages_of_ops.network_lines({"environment": facts, "sizes": sizes}))
    assert "Refused, wrong logits: eager ops" in text
    assert cost(ATTEND).bytes
