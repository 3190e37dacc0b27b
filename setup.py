"""The build hooks: everything declarative is in pyproject.toml, the compilation in tools/."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import native_build  # noqa: E402


class BuildLibraries(build_ext):
    """Builds the operator libraries instead of Python extension modules."""

    editable_mode = False

    def target(self) -> Path:
        in_place = self.inplace or self.editable_mode
        return (ROOT if in_place else Path(self.build_lib).resolve()) / "scrn_ops"

    def run(self) -> None:
        try:
            self.built = native_build.build(self.target())
        except native_build.BuildError as error:
            sys.exit(f"scrn_ops: error: {error}")

    def get_outputs(self) -> list[str]:
        return [str(path) for path in getattr(self, "built", [])]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        return []


class PlatformWheel(bdist_wheel):
    """A wheel for every Python 3: the libraries depend on neither Python's nor torch's version."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    # The entry only says that there is something to compile; BuildLibraries knows what.
    ext_modules=[Extension("scrn_ops.libscrn_ops", sources=[])],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
)
