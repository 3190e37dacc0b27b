"""``scrn export``: a trained network in the form in which it is used elsewhere."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from ..engine.weights import PACKAGED, load_model

# Each is a module of this package: ``add_arguments`` adds the options that it alone has, and
# ``run`` takes all of them and the model.
FORMATS = {
    "folder": "what scrn predict --model and scrn.load_model read",
    "onnx": "standard operators for ONNX Runtime, OpenVINO and others",
    "aoti": "an AOTInductor package, for Python and for C++ without it",
    "web": "a folder with a page that segments photos in the browser",
}


class _Options:
    """A format's part of the parser, which remembers what it holds."""

    def __init__(self, parser: argparse.ArgumentParser, name: str) -> None:
        self._group = parser.add_argument_group(f"--format {name}, {FORMATS[name]}")
        self.defaults: dict[str, Any] = {}

    def add_argument(self, *names: str, **settings: Any) -> None:
        action = self._group.add_argument(*names, **settings)
        self.defaults[action.dest] = action.default


def _module(name: str) -> Any:
    return import_module(f".{name}", __name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", default="folder", metavar="FORMAT", help=f"{', '.join(FORMATS)} (folder)"
    )
    parser.add_argument(
        "--model",
        "--checkpoint",
        default=PACKAGED,
        metavar="PATH",
        help="a checkpoint of scrn fit, or a saved folder (default: the weights of the package)",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="PATH",
        help="the file or folder to write",
    )
    parser.add_argument("--terms", help="on which the weights may be used, to be said beside them")
    options = {name: _Options(parser, name) for name in FORMATS}
    for name, own in options.items():
        _module(name).add_arguments(own)
    parser.set_defaults(options={name: own.defaults for name, own in options.items()})


def run(args: argparse.Namespace) -> None:
    """Writes ``args.output``.

    Raises:
        ValueError: an unknown format, an option of another one, or what a format refuses.
        scrn.data.DataError: no model at the path.
    """
    if args.format not in FORMATS:
        raise ValueError(f"--format: expected {', '.join(FORMATS)}, got {args.format}")
    for name, defaults in args.options.items():
        given = [dest for dest, default in defaults.items() if getattr(args, dest) != default]
        if name != args.format and given:
            option = "--" + given[0].replace("_", "-")
            raise ValueError(f"{option}: expected with --format {name}, got --format {args.format}")
    saved = load_model(args.model)
    if args.terms is not None:
        saved.about["terms"] = args.terms
    _module(args.format).run(args, saved)
