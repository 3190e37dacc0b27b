"""AOTInductor packages give the network's classes, without operators whose kernels are Python's."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from scrn.cli import main
from scrn.engine.weights import SavedModel, load_model
from scrn.export import aoti
from scrn_ops import DisentangledNonLocal

from .conftest import PHOTO, SHORT_SIDE, SIZE


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    return load_model()


@pytest.mark.slow
def test_the_classes_are_those_of_prediction(package: Path, saved: SavedModel) -> None:
    runner = torch._inductor.aoti_load_package(str(package))
    photo = torch.from_numpy(np.array(Image.open(PHOTO)))
    for pixels in (photo, photo[::2, ::2].contiguous()):
        expected = saved.predict(pixels.numpy(), short_side=SHORT_SIDE).labels
        assert len(np.unique(expected)) > 3
        got = runner(pixels)
        assert (got.dtype, got.shape) == (torch.uint8, pixels.shape[:2])
        assert (got.numpy() == expected).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(1, 1), (1, 90), (1033, 7)])
def test_a_photo_has_any_size(package: Path, saved: SavedModel, sides: tuple[int, int]) -> None:
    photo = torch.randint(0, 256, (*sides, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = aoti.PhotoClasses(saved, SIZE, "cpu")(photo)
    got = torch._inductor.aoti_load_package(str(package))(photo)
    assert got.shape == sides
    assert (got == expected).float().mean() > 0.99  # One tie is a large share of few pixels.


@pytest.mark.slow
def test_what_a_program_may_ask_the_package_for(package: Path, saved: SavedModel) -> None:
    metadata = torch._inductor.aoti_load_package(str(package)).get_metadata()
    found = {name: json.loads(metadata[name]) for name in ("classes", "mean", "std", "size")}
    assert found == {
        "classes": list(saved.classes), "mean": list(saved.mean), "std": list(saved.std),
        "size": list(SIZE),
    }  # fmt: skip
    assert json.loads(metadata["colors"]) == [list(color) for color in saved.colors]
    assert json.loads(metadata["terms"]) == saved.about["terms"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        lambda photo: photo.permute(1, 0, 2),
        lambda photo: photo[::2, ::2],
        lambda photo: photo.float(),
        lambda photo: torch.nn.functional.pad(photo, (0, 1)),
    ],
    ids=["permuted", "strided", "float", "four channels"],
)
def test_other_tensors_are_refused_where_that_is_asked_for(
    package: Path, spoil: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOTI_RUNTIME_CHECK_INPUTS", "1")
    photo = torch.zeros(*SIZE, 3, dtype=torch.uint8)
    runner = torch._inductor.aoti_load_package(str(package))
    assert runner(photo).shape == SIZE
    with pytest.raises(RuntimeError):
        runner(spoil(photo))


@pytest.mark.slow
def test_threads_are_counted_where_it_runs(package: Path) -> None:
    with zipfile.ZipFile(package) as files:
        sources = [files.read(name) for name in files.namelist() if name.endswith(".cpp")]
    loops = [line for text in sources for line in text.splitlines() if b"omp parallel" in line]
    assert loops
    assert [line for line in loops if b"num_threads" in line] == []


@pytest.mark.slow
def test_another_network_s_package_is_found_out(
    package: Path, saved: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the comparison that an export makes, which then leaves nothing."""
    other = load_model()
    with torch.no_grad():
        for name, parameter in other.model.head.named_parameters():
            if name.endswith("bias"):
                parameter += torch.linspace(0, 1, len(parameter))
    monkeypatch.setattr(
        aoti, "write_package", lambda _saved, _size, path, _device: path.symlink_to(package)
    )
    with pytest.raises(ValueError, match=r"model: expected the network's classes on 99.9% .*, got"):
        aoti.export_aoti(other, tmp_path / "made.pt2", SIZE)
    assert list(tmp_path.iterdir()) == []
    assert min(aoti.export_aoti(saved, tmp_path / "made.pt2", SIZE).values()) > 0.999
    assert [path.name for path in tmp_path.iterdir()] == ["made.pt2"]


def names(program: torch.export.ExportedProgram) -> set[str]:
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    return {target.name() for target in targets if isinstance(target, torch._ops.OpOverload)}


def test_the_attention_becomes_its_formula() -> None:
    model = DisentangledNonLocal(8, 4, 8).eval()
    x = torch.randn(2, 8, 5, 7)
    program = torch.export.export(model, (x,))
    assert "scrn_ops::whitened_attention" in names(program)
    decomposed = aoti.without_python(program)
    assert not any(name.startswith("scrn_ops::") for name in names(decomposed))
    torch.testing.assert_close(decomposed.module()(x), model(x))


def test_an_operator_of_python_is_refused() -> None:
    @torch.library.custom_op("scrn_tests::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return 2 * x

    twice.register_fake(torch.empty_like)

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return twice(x)

    program = torch.export.export(Model(), (torch.ones(3),))
    with pytest.raises(ValueError, match=r"model: expected .* got scrn_tests::twice"):
        aoti.without_python(program)


def no_compiler(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("CXX", "g++-of-nobody")


def no_cuda(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: False)


def no_short_side(patch: pytest.MonkeyPatch) -> None:
    def load(_path: str) -> SavedModel:
        model = load_model()
        model.short_side = None
        return model

    patch.setattr("scrn.export.load_model", load)


@pytest.mark.parametrize(
    ("words", "prepare", "message"),
    [
        ("--output m.pt2 --size 31 64", None, "size: expected .* at least 32, got 31x64"),
        ("--output m.pt2", no_short_side, "size: expected --size H W for a model without"),
        ("--output m.pth", None, "output: expected a name that ends with .pt2, got m.pth"),
        ("--output none/m.pt2", None, "output: expected a folder .* written to, got none"),
        ("--output a.pt2", lambda _: Path("a.pt2").mkdir(), "output: expected the path of a file"),
        ("--output m.pt2 --device cuda", no_cuda, "device: expected 'cpu' where .* 'cuda'"),
        ("--output m.pt2", no_compiler, "expected a C.. compiler, found no g..-of-nobody"),
        ("--output m.pt2 --short-side 64", None, "--short-side: expected with --format folder"),
    ],
)
def test_what_cannot_work_is_told_at_once(
    words: str,
    prepare: Callable[[pytest.MonkeyPatch], None] | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if prepare is not None:
        prepare(monkeypatch)
    before = list(tmp_path.iterdir())
    assert main(["export", "--format", "aoti", *words.split()]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scrn export: ")
    with pytest.raises(ValueError, match=message):
        raise ValueError(line)
    assert list(tmp_path.iterdir()) == before
