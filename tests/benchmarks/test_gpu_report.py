"""What collect makes of a visit: the kept JSON, its page, the table of docs/performance.md; and the
first visit's own figures."""

import json

import pytest

from benchmarks import readme
from benchmarks.common import checkout, pages
from benchmarks.gpu import collect, report
from benchmarks.gpu.record import OK, Record, write

RESULTS = checkout.ROOT / "benchmarks" / "results"
H200 = RESULTS / "nvidia-h200.json"
FORWARD = "semantic_refine B=1 C=128 128x256 -> 256x512 float32 smooth forward nchw"


def visit(folder, device="GPU 9", commit="abcdef123456", status=OK, ours=OK, eager=OK):
    facts = {"status": status, "seconds": 1.0, "share_seconds": 9.0, "commands": []}
    stages = dict.fromkeys(("smoke", "key", "test", "profile", "sanitize"), facts)
    check = {"device": {"name": device, "torch": "2.11"}, "commit": commit, "python": "3.12.1"}
    write(folder / "check.json", {**check, "date": "2026-11-28T03:00:00", "stages": stages})
    key = Record(folder / "key.json", ["rates", FORWARD, "other"])
    key.add("rates", OK, copy_bytes=3e12)
    rows = {
        "fused": {"status": ours, "call": 1e-4, "graph": 9e-5, "kernels": 7e-5},
        "eager": {"status": eager, "call": 5e-5, "graph": 3.6e-4},
    }
    rows["fused"]["by_kernel"] = {
        "void scrn::cuda::zero_kernel<float>(P)": {"launches": 2, "seconds": 5e-6}
    }
    key.add(FORWARD, OK, layout="nchw", direction="forward", floor=5.2e-5, rows=rows)
    tests = Record(folder / "test.json")
    tests.add("ops", "failed", passed=["a", "b"], failed={"c": "why"}, skipped={"no device": 2})
    kernel = {"case": "first", "kernel": "flash", "dram_percent": 81.5, "nanoseconds": None}
    Record(folder / "profile.json").add("group", OK, kernels=[kernel], refused=["lts__x"])
    Record(folder / "sanitize.json").add("memcheck op", OK, errors=0)
    Record(folder / "smoke.json").add("a case", "wrong", note="output is off")


@pytest.fixture
def collected(compact):
    def collect_to(folder, results):
        assert collect.main([str(folder), "--results", str(results)]) == 0
        return compact((results / "gpu-9.md").read_text())

    return collect_to


def test_collected_figures_are_in_the_page(tmp_path, collected):
    visit(tmp_path / "visit")
    page = collected(tmp_path / "visit", tmp_path)
    assert "Measured at abcdef123456." in page
    assert "| key | ok | 1 | 9 |" in page
    cells = "| 100.0 | 90.0 | 70.0 | 52.0 | 50.0 (eager) | x0.5 | 360.0 (eager) | x4.0 |  |"
    assert f"| {FORWARD} {cells}" in page
    assert f"| {FORWARD} | scrn::cuda::zero_kernel | 2 | 5.0 |" in page
    assert "- ops: 2 passed, 1 failed, 2 skipped." in page
    assert "- failed: `c` why" in page
    assert "| first | flash | 81.5 |  |" in page
    assert "Counters that it does not know: lts__x." in page
    assert "- memcheck op: ok, 0 errors" in page
    assert "0 of 1 cases agree." in page
    assert "- wrong: a case output is off" in page
    kept = json.loads((tmp_path / "gpu-9.json").read_text())
    assert kept["device"] == "GPU 9"
    assert kept["stages"]["test"]["rows"][0]["passed"] == 2


def test_nothing_is_compared_with_what_is_wrong(tmp_path, collected, compact):
    visit(tmp_path / "visit", ours="wrong")
    cells = "| 100.0 | 90.0 | 70.0 | 52.0 | 50.0 (eager) |  | 360.0 (eager) |  | wrong |"
    assert f"| {FORWARD} {cells}" in collected(tmp_path / "visit", tmp_path / "results")
    text = compact(readme.gpu_section(tmp_path / "results", tmp_path / "README.md"))
    assert "256x512 float32 nchw | wrong | 50.0 / 360.0 |  |  |  |  |  |" in text
    visit(tmp_path / "visit", eager="failed: no such thing")
    cells = "| 100.0 | 90.0 | 70.0 | 52.0 |  |  |  |  |  |"
    assert f"| {FORWARD} {cells}" in collected(tmp_path / "visit", tmp_path / "results")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("running", "cut off: killed while it ran; 2 of 3 cases ended well"),
        ("out of time", "out of time; 2 of 3 cases ended well"),
    ],
)
def test_what_was_cut_off_says_so(tmp_path, status, said, collected):
    visit(tmp_path / "visit", status=status)
    assert f"| key | {said} |" in collected(tmp_path / "visit", tmp_path)


def predictions(made_at):
    rows = [
        {"case": FORWARD, "column": "kernels", "at_most": 65},
        {"case": FORWARD, "column": "graph", "at_most": 95},
        {"case": "unheard of", "column": "call", "at_most": 1},
    ]
    return {"made_at": made_at, "since": "Much has changed since.", "rows": rows}


def test_predictions_are_printed_beside_what_they_were_made_of_and_then_judged(tmp_path, collected):
    visit(tmp_path / "visit")
    write(tmp_path / "predictions.json", predictions("abcdef1"))
    page = collected(tmp_path / "visit", tmp_path)
    assert "Measured at abcdef123456. Much has changed since." in page
    assert "## Predicted for the next visit" in page
    assert f"| {FORWARD} | kernels | 70.0 | 65 |  |" in page
    write(tmp_path / "predictions.json", predictions("1234567"))
    page = collected(tmp_path / "visit", tmp_path)
    assert "Much has changed" not in page
    assert "## Predicted, and measured" in page
    assert f"| {FORWARD} | kernels | 70.0 | 65 | MISSED |" in page
    assert f"| {FORWARD} | graph | 90.0 | 95 | met |" in page
    assert "| unheard of | call |  | 1 | not measured |" in page


def test_collect_refuses_what_it_cannot_name(tmp_path, capsys):
    assert collect.main([str(tmp_path), "--results", str(tmp_path)]) == 2
    assert "expected check.json" in capsys.readouterr().err
    visit(tmp_path / "visit", commit=None)
    arguments = [str(tmp_path / "visit"), "--results", str(tmp_path)]
    assert collect.main(arguments) == 2
    assert "give --commit" in capsys.readouterr().err
    assert collect.main([*arguments, "--commit", "fedcba9"]) == 0
    assert "Measured at fedcba9." in (tmp_path / "gpu-9.md").read_text()


def test_readme_shows_losing_rows_of_every_device(tmp_path, compact):
    for device in ("GPU 8", "GPU 9"):
        visit(tmp_path / device, device)
        collect.main([str(tmp_path / device), "--results", str(tmp_path / "results")])
    page = tmp_path / "README.md"
    text = compact(readme.gpu_section(tmp_path / "results", page))
    assert text.index("GPU 8") < text.index("GPU 9")
    assert "(results/gpu-9.md)" in text
    name = FORWARD.replace(" smooth forward", "")
    assert f"| {name} | 100.0 / 90.0 / 70.0 | 50.0 / 360.0 | x0.5 | x4.0 |  |  |  |" in text
    page.write_text("".join((*pages.marks("performance"), *pages.marks("gpu"))))
    arguments = ["--page", str(page), "--gpu-results", str(tmp_path / "results")]
    assert readme.main([*arguments, "--check"]) == 1
    assert readme.main(arguments) == 0
    assert readme.main([*arguments, "--check"]) == 0
    assert name in page.read_text()


def test_what_is_kept_of_the_h200_is_what_was_written_down():
    kept = json.loads(H200.read_text())
    rows = {row["name"]: row for row in kept["stages"]["key"]["rows"]}
    assert rows[FORWARD]["rows"]["fused"]["kernels"] == pytest.approx(74.8e-6, rel=1e-3)
    unit = rows["multi_scale_depthwise B=1 C=64 256x512 float32 backward nchw"]["rows"]
    assert unit["fused"]["call"] == pytest.approx(461.4e-6, rel=1e-3)
    assert unit["eager"]["call"] == pytest.approx(5917e-6, rel=1e-3)
    tests = {row["name"]: row for row in kept["stages"]["test"]["rows"]}
    counts = {name: (row["passed"], len(row["failed"])) for name, row in tests.items()}
    for suite, passed in {"srm": 1948, "depthwise": 350, "classify": 563, "attention": 167}.items():
        assert counts[suite] == (passed, 0)
    network = {row["name"]: row["graph"] for row in kept["stages"]["network"]["rows"]}
    assert network["mscan_s 1024x2048 float32 nchw fused ops"] == pytest.approx(7.31e-3, rel=1e-3)
    assert network["mscan_s 1024x2048 float32 nchw eager ops"] == pytest.approx(14.34e-3, rel=1e-3)
    lead = "The whole network, mscan_s 1024x2048, under a CUDA graph: float32 x1.9, bfloat16 x2.3."
    assert report.speed(kept, None).endswith(lead)


def test_pages_of_what_is_kept_are_up_to_date():
    predicted = json.loads((RESULTS / "predictions.json").read_text())
    for path in RESULTS.glob("*.json"):
        if path.name != collect.PREDICTIONS:
            merged = json.loads(path.read_text())
            assert path.with_suffix(".md").read_text() == report.report(merged, predicted)
    begin, end = pages.marks(readme.GPU_SECTION)
    page = checkout.ROOT / "docs" / "performance.md"
    section = page.read_text().split(begin)[1].split(end)[0].strip()
    assert section == readme.gpu_section(RESULTS, page)


def test_predictions_name_rows_that_are_measured():
    from benchmarks.gpu.key import rows

    predicted = json.loads((RESULTS / "predictions.json").read_text())
    chosen = rows("cuda")
    for each in predicted["rows"]:
        _, _, profiled = chosen[each["case"]]
        assert each["column"] in report.COLUMNS
        assert profiled or each["column"] != "kernels"
