"""The correctness gate: nothing is timed that does not agree with the definition in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .case import OURS_ROUNDINGS, Arguments, Case, Function, Op, inputs_of, leaves_of

Results = dict[str, Tensor]

# Relative L2 errors. Half types are measured by the error of rounding the definition's result.
OURS_FLOAT32 = 2e-6
# Baselines lose digits in grid_sample's normalised coordinates and round between their steps.
BASELINE_FLOAT32 = 1e-4
BASELINE_ROUNDINGS = 8.0
# The offset's gradient jumps where a sampling point is integral: so near to it (in pixels),
# rounding decides which side is taken. A baseline may also be on either side exactly there.
OURS_NEAR = 1e-4
BASELINE_NEAR = 1e-3


@dataclass
class Verdict:
    """Relative L2 error and allowance of every result of an implementation."""

    errors: dict[str, float] = field(default_factory=dict)
    allowed: dict[str, float] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        """Written so that an error that is NaN counts as wrong."""
        return [name for name, error in self.errors.items() if not error <= self.allowed[name]]

    def __str__(self) -> str:
        return ", ".join(
            f"{name} is off by {self.errors[name]:.1e} (allowed {self.allowed[name]:.1e})"
            for name in self.wrong
        )


class Definition:
    """The float64 results of a case's arguments, image by image where that can be, to bound the
    memory."""

    def __init__(self, case: Case, arguments: Arguments) -> None:
        op = case.operation
        double = {k: v.double() if v.is_floating_point() else v for k, v in arguments.items()}
        self.op, self.dtype, self.arguments = op, case.dtype, arguments
        if op.by_image:
            images = [
                evaluate(
                    op.definition, {k: v[i : i + 1] for k, v in double.items()}, op.differentiable
                )
                for i in range(case.batch)
            ]
            self.results = {name: torch.cat([each[name] for each in images]) for name in images[0]}
        else:
            self.results = evaluate(op.definition, double, op.differentiable)
        if op.observed is not None:
            self.results["output"] = op.observed(double, self.results["output"])
        self.distance = None if op.points is None else _distances(op, arguments)

    def judge(self, results: Results, ours: bool) -> Verdict:
        verdict = Verdict()
        for name, result in results.items():
            expected = self.results[name]
            if tuple(result.shape) != tuple(expected.shape):
                verdict.errors[name], verdict.allowed[name] = float("inf"), 0.0
                continue
            roundings = _roundings(self.op, name, expected.is_cuda) if ours else BASELINE_ROUNDINGS
            verdict.allowed[name] = self._allowance(expected, result.dtype, ours, roundings)
            actual = result.detach()
            if name == "output" and self.op.observed is not None:
                actual = self.op.observed(self.arguments, actual)
            actual = actual.double()
            jumps = self._jumps(name, ours)
            if jumps is not None:
                actual = actual.masked_fill(jumps, 0)
                expected = expected.masked_fill(jumps, 0)
            verdict.errors[name] = _relative(actual, expected)
        return verdict

    def _allowance(
        self, expected: Tensor, dtype: torch.dtype, ours: bool, roundings: float
    ) -> float:
        floor = OURS_FLOAT32 if ours else BASELINE_FLOAT32
        # A half result's own rounding, and for fp32 gradients of half features the rounding of
        # what a baseline computed before.
        rounded_to = dtype if ours else self.dtype
        if rounded_to in (torch.float32, torch.float64) or not rounded_to.is_floating_point:
            return floor
        rounding = _relative(expected.to(rounded_to).double(), expected)
        if expected.numel() == 1:  # which may be rounded by next to nothing
            rounding = max(rounding, torch.finfo(rounded_to).eps / 4)
        return max(floor, roundings * rounding)

    def _jumps(self, name: str, ours: bool) -> Tensor | None:
        """Where the result is not compared, [B, 1, H, W]."""
        if self.distance is None or name not in ("grad offset", "grad mask"):
            return None
        distance = self.distance
        near = (distance < OURS_NEAR) & (distance > 0) if ours else distance < BASELINE_NEAR
        near = near.any(dim=1, keepdim=True)
        if name == "grad offset" and "grad mask" in self.results:
            # An offset has a share in the points of all its neighbours.
            near = F.max_pool2d(near.float(), 3, stride=1, padding=1) > 0
        return near


def evaluate(function: Function, drawn: Arguments, gradients: bool) -> Results:
    """The output and, if wanted, the gradients of every argument for the gradient ``grad``."""
    inputs = inputs_of(drawn, gradients)
    if not gradients:
        with torch.no_grad():
            return {"output": function(**inputs)}
    output = function(**inputs)
    leaves = leaves_of(inputs)
    gradient = torch.autograd.grad(output, list(leaves.values()), drawn["grad"].to(output.dtype))
    named = {f"grad {name}": each for name, each in zip(leaves, gradient, strict=True)}
    return {"output": output.detach(), **named}


def _roundings(op: Op, name: str, on_cuda: bool) -> float:
    """How many roundings of the definition's result one of ours may be off by."""
    gradient = name.startswith("grad ") and on_cuda
    return op.gradient_roundings_on_cuda if gradient else OURS_ROUNDINGS


def _distances(op: Op, arguments: Arguments) -> Tensor:
    """How far every sampling point's x and y are from the nearest integer, [B, 2, H, W]."""
    assert op.points is not None
    points = op.points({name: tensor.double() for name, tensor in arguments.items()})
    return (points - points.round()).abs()


def _relative(actual: Tensor, expected: Tensor) -> float:
    scale = float(expected.norm())
    error = float((actual - expected).norm())
    return error / scale if scale > 0 else error
