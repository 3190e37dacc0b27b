"""The page segments photos as Python does, and says what it cannot take."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import tv_tensors

from scrn.data.transforms import evaluation_transform
from scrn.engine.weights import load_model
from scrn.export import web
from scrn.export.web.runtime import runtime_files
from tests.training.command import ROOT, scrn

from .web_page import Page, chromium, served

onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

NAMES, COLORS = ("red", "green", "blue"), [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
UPRIGHT, TURNED = 1, 6  # EXIF's numbers; 6: to be turned by 90 degrees clockwise
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def runtime() -> Path:
    """The folder of ONNX Runtime Web."""
    try:
        return runtime_files()[0].parent
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def colors_page(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with a network whose logits are the photo's colours."""
    folder = tmp_path_factory.mktemp("web") / "page"

    def export(saved: object, path: Path) -> None:
        shape = [1, 3, "height", "width"]
        image, logits = (
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name in ("image", "logits")
        )
        node = onnx.helper.make_node("Identity", ["image"], ["logits"])
        graph = onnx.helper.make_graph([node], "colors", [image], [logits])
        opset = onnx.helper.make_opsetid("", 18)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), path)

    saved: Any = SimpleNamespace(
        classes=NAMES, colors=COLORS, mean=(0,) * 3, std=(1,) * 3, short_side=None, about={}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "export_onnx", export)
        web.export_web(saved, folder, onnxruntime_web=runtime)
    return folder


@pytest.fixture(scope="module")
def opened(browser: Any, colors_page: Path) -> Iterator[Page]:
    with served(colors_page) as (address, _), Page(browser, address) as page:
        page.wait_until_ready()
        yield page


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """The page with that network, in whatever state the test before left it."""
    yield opened
    assert opened.errors == []


def encoded(image: Image.Image, kind: str = "PNG", orientation: int = UPRIGHT) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=93, exif=exif)
    return buffer.getvalue()


def stripes(width: int = 80, height: int = 60) -> Image.Image:
    """Half red, a quarter green, a quarter blue, from the left."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for channel, (start, stop) in enumerate(((0, 1 / 2), (1 / 2, 3 / 4), (3 / 4, 1))):
        pixels[:, round(start * width) : round(stop * width), channel] = 200
    return Image.fromarray(pixels)


def street() -> Image.Image:
    """A photo of a street, larger than the network takes it, of odd sizes."""
    frames = Image.open(ROOT / "docs/camvid/frames.jpg").convert("RGB")
    return frames.crop((2, 2, 302, 227)).resize((1037, 777), Image.Resampling.BICUBIC)


@pytest.mark.slow
def test_the_class_map_is_pythons(browser: Any, runtime: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    said = scrn("export", "--format", "web", "--output", folder, "--onnxruntime-web", runtime)
    assert re.search(rf"^{folder}: 3\d\.\d MB; python -m http\.server -d", said, re.MULTILINE)
    saved = load_model().fuse()
    photo = street()
    files = {
        "upright.jpg": encoded(photo, "JPEG"),
        "turned.jpg": encoded(photo.rotate(90, expand=True), "JPEG", TURNED),
    }
    with served(folder, isolated=True) as (address, _), Page(browser, address) as page:
        page.wait_until_ready()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            expected = saved.predict(tmp_path / name)
            page.choose(name, content)
            assert page.error is None
            labels = page.labels(list(saved.colors))
            assert labels.shape == expected.labels.shape == (777, 1037)
            assert len(np.unique(labels)) >= 8
            assert (labels == expected.labels).mean() >= 0.995
            assert [row[0] for row in page.legend][:4] == list(expected.classes)[:4]
        assert page.errors == []


@pytest.mark.parametrize("isolated", [False, True])
def test_nothing_leaves_the_machine(browser: Any, colors_page: Path, isolated: bool) -> None:
    with served(colors_page, isolated) as (address, asked), Page(browser, address) as page:
        page.wait_until_ready()
        loaded = sorted(asked)
        assert "/network.onnx" in loaded
        # Whatever a photo needs has to be there by now.
        page.context.set_offline(True)
        page.choose("stripes.png", encoded(stripes()))
        assert page.error is None
        assert page.legend[0] == ("red", "50 %")
        assert sorted(asked) == loaded
        outside = [url for url in page.requests if not url.startswith((address, f"blob:{address}"))]
        assert outside == []
        # The browser tells of the worker's requests, too.
        assert f"{address}network.onnx" in page.requests


@pytest.mark.parametrize("isolated", [False, True])
def test_threads_are_used_where_the_page_is_isolated(
    browser: Any, colors_page: Path, isolated: bool
) -> None:
    with served(colors_page, isolated) as (address, _), Page(browser, address) as page:
        page.wait_until_ready()
        page.choose("stripes.png", encoded(stripes()))
        threads = min(page.tab.evaluate("navigator.hardwareConcurrency"), 4) if isolated else 1
        assert f"; {threads} thread" in page.text("#caption")


def test_the_overlay_legend_and_slider(page: Page) -> None:
    page.choose("stripes.png", encoded(stripes()))
    assert page.legend == [("red", "50 %"), ("green", "25 %"), ("blue", "25 %")]
    assert page.tab.locator("#needs-server").count() == 0
    labels = page.labels(COLORS)
    assert (labels == np.repeat([0, 1, 2], [40, 20, 20])).all()
    assert "80 x 60 pixels in 0." in page.text("#caption")
    label = page.tab.locator("#photo").get_attribute("aria-label")
    assert label == "stripes.png with its classes: red 50 %, green 25 %, blue 25 %"
    overlay, slider = page.tab.locator("#overlay"), page.tab.get_by_label("Opacity of the classes")
    for keys, expected in ((["Home"], 0), (["End"], 100), (["ArrowLeft"] * 3, 97)):
        for key in keys:
            slider.press(key)
        assert float(overlay.evaluate("e => getComputedStyle(e).opacity")) == expected / 100
        assert page.text("#opacity-value") == f"{expected} %"


def test_a_class_alone(page: Page) -> None:
    page.choose("stripes.png", encoded(stripes()))
    green = page.tab.locator("#legend button").nth(1)
    green.press("Enter")
    assert green.get_attribute("aria-pressed") == "true"
    assert (page.overlay()[..., 3] == np.repeat([0, 255, 0], [40, 20, 20])).all()
    green.press("Enter")
    assert (page.overlay()[..., 3] == 255).all()


def test_the_picture_is_saved(page: Page) -> None:
    page.choose("stripes.png", encoded(stripes()))
    page.tab.get_by_label("Opacity of the classes").fill("50")
    with page.tab.expect_download() as found:
        page.tab.locator("#save").click()
    assert found.value.suggested_filename == "stripes_classes.png"
    saved = np.array(Image.open(found.value.path()).convert("RGB")).astype(int)
    expected = (np.array(stripes()) + np.array(COLORS)[page.labels(COLORS)]) / 2
    assert np.abs(saved - expected).max() <= 1


def test_the_class_below_the_pointer(page: Page) -> None:
    page.choose("stripes.png", encoded(stripes()))
    picture = page.tab.locator("#picture")
    box = picture.bounding_box()
    assert box is not None
    for share, name in ((0.3, "red"), (0.6, "green"), (0.9, "blue")):
        picture.hover(position={"x": share * box["width"], "y": 0.5 * box["height"]})
        assert page.text("#tag") == name


@pytest.mark.parametrize(("way", "width"), [("drop", 88), ("paste", 104)])
def test_dropped_and_pasted(page: Page, way: str, width: int) -> None:
    script = """([bytes, way]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "stripes.png", { type: "image/png" }));
      const facts = { dataTransfer: data, clipboardData: data, bubbles: true };
      document.body.dispatchEvent(
        way === "drop" ? new DragEvent("drop", facts) : new ClipboardEvent("paste", facts));
    }"""
    page.tab.evaluate(script, [list(encoded(stripes(width))), way])
    page.wait_for_answer()
    assert page.error is None
    assert page.labels(COLORS).shape == (60, width)


def test_dropped_text(page: Page) -> None:
    script = """() => {
      const data = new DataTransfer();
      data.setData("text/plain", "a link");
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }"""
    file = {"name": "a.png", "mimeType": "image/png", "buffer": encoded(stripes())}
    for busy in (False, True):
        if busy:  # The answer to the photo comes after the complaint.
            page.tab.locator("#file").set_input_files(file)
        page.tab.evaluate(script)
        assert page.error == "Expected a file, found text or a link: save the photo first."
    page.tab.wait_for_timeout(500)
    page.choose("b.png", encoded(stripes(88)))
    assert page.labels(COLORS).shape == (60, 88)
    assert page.errors == []


def test_the_last_photo_counts(page: Page) -> None:
    """Of photos that come while another is worked on, and after an error, the last is shown."""
    files = [
        {"name": f"{i}.png", "mimeType": "image/png", "buffer": encoded(stripes(80 + 8 * i))}
        for i in range(3)
    ]
    for file in files:
        page.tab.locator("#file").set_input_files(file)
    page.wait_for_answer()
    assert page.labels(COLORS).shape == (60, 96)
    page.choose("notes.txt", b"no photo")
    assert page.error is not None
    page.choose("photo.png", encoded(stripes()))
    assert page.error is None
    assert page.labels(COLORS).shape == (60, 80)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


UNREADABLE = (
    "expected a photo (JPEG, PNG, WebP), found a file that this browser cannot read as one."
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"no photo", UNREADABLE),
        ("empty.jpg", b"", UNREADABLE),
        ("header.png", encoded(stripes())[:40], UNREADABLE),
        ("cut.png", cut(encoded(street())), UNREADABLE),
        ("cut.jpg", cut(encoded(street(), "JPEG")), UNREADABLE),
        ("small.png", encoded(stripes(31, 40)), "expected at least 32 x 32 pixels, found 31 x 40."),
        ("clear.png", encoded(Image.new("RGBA", (64, 64))), UNREADABLE),
        (
            "huge.png",
            encoded(Image.new("1", (8000, 6000))),
            "expected at most 40 million pixels, of which “scrn predict” takes more, "
            "found 8000 x 6000.",
        ),
        (
            "long.png",
            encoded(stripes(100_001, 48)),
            "expected a photo that the network sees at once; “scrn predict --window” takes "
            "larger ones, found 100001 x 48.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:-3] else "",
)
def test_files_that_are_no_photo(page: Page, name: str, content: bytes, message: str) -> None:
    page.choose(name, content)
    assert page.error == f"{name}: {message}"


def test_a_network_that_does_not_load(browser: Any, colors_page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(colors_page, folder)
    for name, problem in (
        (web.MODEL, b"no network"),
        (web.MODEL, None),
        (web.NETWORK, None),
    ):
        if problem is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(problem)
        with served(folder) as (address, _), Page(browser, address) as page:
            page.tab.locator("#error:visible").wait_for()
            assert page.error is not None
            expected = "" if problem else f"{name}: 404 "
            assert page.error.startswith(f"The network could not be loaded: {expected}")
            said = page.error
            page.choose("photo.png", encoded(stripes()))
            assert page.error == said


def test_opened_as_a_file_it_says_what_it_needs(browser: Any, colors_page: Path) -> None:
    with Page(browser, (colors_page / "index.html").as_uri()) as page:
        notice = page.tab.locator("#needs-server")
        notice.wait_for()
        assert "python -m http.server -d" in page.text("#needs-server")
        assert not page.tab.locator("main").is_visible()


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (350, 97), (40, 203), (33, 47)])
def test_photos_are_scaled_as_in_python(page: Page, size: tuple[int, int]) -> None:
    height, width = size
    pixels = torch.randint(256, (height, width, 4), dtype=torch.uint8)
    script = """async ([pixels, height, width]) => {
      const { inputSize, resized } = await import("./pixels.js");
      const [h, w] = inputSize(height, width, 64);
      return [h, w, ...resized(Uint8ClampedArray.from(pixels), height, width, h, w)];
    }"""
    h, w, *values = page.tab.evaluate(script, [pixels.flatten().tolist(), height, width])
    prepare: Any = evaluation_transform(64, (0.0,) * 3, (1.0,) * 3)
    image = pixels[..., :3].permute(2, 0, 1).contiguous()
    expected = (255 * prepare(tv_tensors.Image(image))).round().int()
    assert (3, h, w) == expected.shape
    difference = (torch.tensor(values).view(3, h, w) - expected).abs()
    # Where the machine lacks the instructions, torch scales in floating point.
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.3


@pytest.mark.parametrize("size", [(24, 32), (71, 130), (15, 90)])
def test_logits_are_brought_to_the_photos_size_as_in_python(
    page: Page, size: tuple[int, int]
) -> None:
    logits = F.interpolate(torch.randn(1, 5, 6, 8), (24, 32), mode="bicubic")
    script = """async ([logits, ...sizes]) => {
      const { classMap } = await import("./pixels.js");
      return [...classMap(Float32Array.from(logits), 5, 24, 32, ...sizes)];
    }"""
    found = page.tab.evaluate(script, [logits.flatten().tolist(), *size])
    expected = F.interpolate(logits, size, mode="bilinear").argmax(1)[0]
    assert (torch.tensor(found).view(size) == expected).float().mean() > 0.999
