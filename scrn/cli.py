"""The ``scrn`` command: data, fit, validate, predict, export, cost."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from ._extras import hint
from ._help import OPTIONS
from ._help import text as help_text

USAGE = """scrn {data,fit,validate,predict,export,cost} ...

  scrn data DIR [--sheet FILE]
  scrn fit --config camvid.yaml [--data.root DIR] [--trainer.max_epochs N] ...
  scrn validate --config camvid.yaml --ckpt_path CHECKPOINT [--model.output DIR] ...
  scrn predict INPUT... [--output DIR] [--model PATH]
  scrn export [--format FORMAT] [--model PATH] --output PATH
  scrn cost --backbone mscan_s --size 1024 2048 [--table]

`scrn COMMAND --help` explains a command. --config takes a file, or the name of a
recipe that comes with the package: {recipes}."""

_MODULES = {
    "data": ".data.inspection",
    "predict": ".engine.predict",
    "export": ".export",
    "cost": ".cost",
}


def _recipes() -> dict[str, Path]:
    return {p.name: p for p in sorted((Path(__file__).parent / "configs").glob("*.yaml"))}


def _resolve_config(args: list[str]) -> list[str]:
    recipes = _recipes()
    resolved = list(args)
    for i, arg in enumerate(args):
        name = None
        if arg == "--config" and i + 1 < len(args):
            i, prefix, name = i + 1, "", args[i + 1]
        elif arg.startswith("--config="):
            prefix, name = "--config=", arg.removeprefix("--config=")
        if name is not None and not Path(name).exists() and name in recipes:
            resolved[i] = f"{prefix}{recipes[name]}"
    return resolved


def _train(args: list[str]) -> int:
    # By default GNU's OpenMP spins for milliseconds: on two cores, of which a loader's process or
    # anything else needs one, a step took five times as long. Read when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from .engine import training

    return training.run(_resolve_config(args), args)


def _run(command: str, args: list[str]) -> int:
    module = import_module(_MODULES[command], __package__)
    description = (module.__doc__ or "").removeprefix(f"``scrn {command}``: ")
    parser = argparse.ArgumentParser(prog=f"scrn {command}", description=description)
    module.add_arguments(parser)
    module.run(parser.parse_args(args))
    return 0


def _in_one_line(command: str, work: Callable[[], int]) -> int:
    """Runs it and returns the exit status. An error that the user can mend is told in one line, any
    other keeps its traceback."""
    try:
        return work()
    except (ImportError, OSError, ValueError, NotImplementedError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        if advice := hint(error, "network" if command == "cost" else "train"):
            text = f"No module named {getattr(error, 'name', None)!r}: {advice}"
        elif not isinstance(error, OSError) and not _is_ours(error):
            raise
        print(f"scrn {command}: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"scrn {command}: interrupted", file=sys.stderr)
        return 130  # as shells have it


def _is_ours(error: Exception) -> bool:
    """Whether this package or Lightning raised it: they say what was expected."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__package__") if trace is not None else None
    # A DataError of a loader's process is raised anew by torch.
    packages = {(name or "").split(".")[0] for name in (raised_in, type(error).__module__)}
    return not packages.isdisjoint(("scrn", "scrn_ops", "lightning"))


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    command = args[0] if args else "--help"
    usage = USAGE.replace("{recipes}", ", ".join(_recipes()))
    if command in ("-h", "--help"):
        print(usage)
        return 0 if args else 2
    if command in OPTIONS:
        if not {"-h", "--help"}.isdisjoint(args):
            print(help_text(command))
            return 0
        args = ["--help" if word == "--help-all" else word for word in args]
        return _in_one_line(command, partial(_train, args))
    if command in _MODULES:
        return _in_one_line(command, partial(_run, command, args[1:]))
    print(f"scrn: unknown command {command!r}\n\n{usage}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
