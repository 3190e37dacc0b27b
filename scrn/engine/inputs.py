"""What ``scrn predict`` segments, and how its results are called."""

from __future__ import annotations

from pathlib import Path

from ..data.errors import DataError
from ..data.files import IMAGE_SUFFIXES, list_images
from .film import FILM_SUFFIXES


def collect(inputs: list[str], output: Path) -> dict[str, Path]:
    """The image files and films named, and the images in the folders named and within these, each
    under the name of its results: that of the file, and of the folders on the way to it. What an
    earlier run left in ``output`` is no input."""
    found: list[tuple[str, Path]] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            images = list_images(path, "**/*")
            kept = [each for each in images if output.resolve() not in each.resolve().parents]
            if not kept:
                raise DataError(path, "images that are not results", "none")
            found += [(str(image.relative_to(path).with_suffix("")), image) for image in kept]
        elif not path.is_file():
            raise DataError(path, "an image, a film, or a folder of images", "no such file")
        elif path.suffix.lower() not in (*IMAGE_SUFFIXES, *FILM_SUFFIXES):
            expected = (
                f"an image ({', '.join(IMAGE_SUFFIXES)}) or a film ({', '.join(FILM_SUFFIXES)})"
            )
            raise DataError(path, expected, f"{path.suffix!r}")
        else:
            found.append((path.stem, path))
    named: dict[str, Path] = {}
    for name, path in found:
        results = (
            output / kind / f"{name}{suffix}"
            for kind, suffix in (("labels", ".png"), ("overlays", ".png"), ("overlays", ".mp4"))
        )
        if path.resolve() in (result.resolve() for result in results):
            raise DataError(path, "an input that is no result's place; another --output", "one")
        other = named.setdefault(name, path)
        if other != path:
            raise DataError(path, "names that differ, as they name the results", f"{other}, too")
    return named
