"""What every family of ops brings to be measured: its cases, its ops and the bars they have to
reach. A family is a module of :mod:`benchmarks.ops.cases`."""

from __future__ import annotations

import itertools
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

import scrn_ops
from scrn_ops import eager, reference

Summed = TypeVar("Summed", int, tuple[str, ...])
Arguments = dict[str, Tensor]
Function = Callable[..., Tensor]
Generator = torch.Generator | None  # None: nothing is drawn, see shapes()

OURS = "fused"
BASELINE = "eager"
COMPILED = "torch.compile"  # of the baseline
LAYOUTS = ("nchw", "channels_last")
DIRECTIONS = ("forward", "backward")
DEFAULT, DETERMINISTIC = "default", "deterministic"
# As the report of the compiled kernels calls them.
FEATURE_TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float64: "fp64",
}
# Of the definition's result, in half types: how many times its error one of ours may have.
OURS_ROUNDINGS = 1.5


@dataclass(frozen=True)
class Case(ABC):
    """One thing to be timed, by every implementation. Each family has a frozen dataclass of its
    own, with sizes beside these fields; JSON keeps them all."""

    op: str
    _: KW_ONLY
    batch: int = 1
    dtype: torch.dtype = torch.float32
    layout: str = "nchw"
    direction: str = "forward"  # without autograd; or "backward" (alone) or "both" (a step)

    layouts: ClassVar[tuple[str, ...]] = LAYOUTS

    @property
    @abstractmethod
    def operation(self) -> Op: ...

    @property
    @abstractmethod
    def about(self) -> str:
        """Sizes, type and kind of numbers, for the title."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]: ...

    @property
    @abstractmethod
    def small(self) -> Any:
        """The same way through the code with so few numbers that any machine has it at once."""

    @property
    def title(self) -> str:
        return f"{self.op} B={self.batch} {self.about} {self.direction}"

    @property
    def name(self) -> str:
        """What ``--filter`` looks at."""
        return f"{self.title} {self.layout}" if len(self.layouts) > 1 else self.title

    @property
    def data(self) -> Any:
        """The case whose numbers are this one's: the same for all layouts and directions."""
        return replace(self, layout=self.layouts[0], direction="forward")

    @property
    def group(self) -> Any:
        """The same for all layouts of one problem, which a report shows side by side."""
        return replace(self, layout=self.layouts[0])

    @property
    def in_layouts(self) -> tuple[Any, ...]:
        return tuple(replace(self, layout=layout) for layout in self.layouts)

    @property
    def modes(self) -> tuple[str, ...]:
        """And torch's deterministic one, where it is another way."""
        return (DEFAULT,)

    @property
    def memory_format(self) -> torch.memory_format | None:
        """Of the ``features`` and of the gradient."""
        return torch.channels_last if self.layout == "channels_last" else None

    @property
    def launches(self) -> int | None:
        """Kernels that our call launches on CUDA, where the operators that torch sees do not
        tell."""
        return None

    @property
    def kernels(self) -> Mapping[str, str]:
        """Feature types, by name, of the compiled CUDA kernels that do the work."""
        return {}

    def in_direction(self, forward: Summed, backward: Summed) -> Summed:
        """What a call takes, from what it takes in either direction."""
        both = forward + backward
        return {"forward": forward, "backward": backward, "both": both}[self.direction]

    def variants(
        self, directions: Sequence[str] = DIRECTIONS, layouts: Sequence[str] | None = None
    ) -> Iterator[Any]:
        for direction, layout in itertools.product(directions, layouts or self.layouts):
            yield replace(self, direction=direction, layout=layout)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def to_json(self) -> dict[str, Any]:
        made = {each.name: getattr(self, each.name) for each in fields(self)}
        return made | {"dtype": self.dtype_name}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Any:
        values = {each.name: read[each.name] for each in fields(cls)}
        values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**values | {"dtype": getattr(torch, values["dtype"])})


class Peer(NamedTuple):
    """What another library has in place of an op for a case, where its semantics are the op's.
    One that is ``compiled`` counts as torch.compile does."""

    function: Function
    about: str
    compiled: bool = False


@dataclass(frozen=True)
class Op:
    """``make`` draws the arguments of a case; ``points`` gives the sampling points [B, 2, H, W]
    in units of whose integers the gradient of the offset is not continuous, if there are any.
    ``paths`` gives the ways of a case through the op on CUDA that are taken whatever its table
    says. ``features`` are the arguments that have the case's layout, and ``passed`` those whose
    gradient is the incoming one, which moves no bytes. ``gradient_roundings_on_cuda`` is the gate's
    allowance for gradients in half types there. Arguments of integers have no gradient, and without
    ``differentiable`` none has. ``by_image``: no result mixes images, and the definition may take
    them one by one. ``observed`` gives what the gate compares in the place of an output that jumps,
    from the arguments in float64 and that output."""

    make: Callable[[Any, Generator], Arguments]
    implementations: dict[str, Function]
    definition: Function
    points: Callable[[Arguments], Tensor] | None = None
    peers: Callable[[Any], dict[str, Peer]] = lambda case: {}
    paths: Callable[[Any], dict[str, Function]] = lambda case: {}
    features: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    gradient_roundings_on_cuda: float = OURS_ROUNDINGS
    differentiable: bool = True
    by_image: bool = True
    observed: Callable[[Arguments, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Bar:
    """What the fused op has to reach on a CPU: ``required`` and ``moonshot`` are speed-ups over
    eager in the fastest of ``layouts``; ``aim`` is the most that the op should take in units of
    ``torch.add(out=)``."""

    case: Case
    layouts: tuple[str, ...]
    required: float
    moonshot: float | None = None
    aim: float | None = None


@dataclass(frozen=True)
class Family:
    """Cases of one family, all of the class ``case``, as which they are read back from JSON.
    ``quick`` and ``full`` are what ``python -m benchmarks`` measures.
    ``smoke`` are small shapes with tails, on which everything is compared with the definition
    when a GPU is met. ``key`` are the rows by which the family is judged there; the first
    ``headline`` problems of them (a problem in a layout, in its directions) are in the README,
    and the first ``profiled`` problems are looked at kernel by kernel."""

    case: type[Case]
    ops: dict[str, Op]
    quick: Callable[[], Iterator[Case]]
    full: Callable[[str], Iterator[Case]]
    smoke: Callable[[], Iterator[Case]]
    key: Callable[[], Iterator[Case]]
    headline: int
    profiled: int
    bars: tuple[Bar, ...] = ()

    def problems(self) -> list[list[Case]]:
        """The key cases, those together that are one problem in one layout."""
        found: dict[object, list[Case]] = {}
        for case in self.key():
            found.setdefault((case.data, case.layout), []).append(case)
        return list(found.values())


def nothing() -> Iterator[Case]:
    """Of a family that has no such cases."""
    yield from ()


def implemented(adapt: Callable[[ModuleType], Function]) -> dict[str, Any]:
    """The op in the three modules that have it, as arguments of :class:`Op`."""
    return {
        "implementations": {OURS: adapt(scrn_ops), BASELINE: adapt(eager)},
        "definition": adapt(reference),
    }


def draw(generator: Generator, *shape: int) -> Tensor:
    if generator is None:
        return torch.empty(shape)
    return torch.randn(shape, generator=generator)


def draw_smooth(generator: Generator, batch: int, channels: int, height: int, width: int) -> Tensor:
    """Maps that change over areas, as a trained network's do."""
    coarse = draw(generator, batch, channels, height // 16 + 2, width // 16 + 2)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)


def arguments(case: Case, device: str) -> Arguments:
    """The arguments and ``grad``, the gradient of the result, in the case's layout. The numbers
    depend on nothing but the case's data."""
    seed = zlib.crc32(case.data.name.encode())
    made = _laid_out(case, torch.Generator().manual_seed(seed))
    return {name: tensor.to(device) for name, tensor in made.items()}


def shapes(case: Case) -> Arguments:
    """The arguments without their numbers, within a FakeTensorMode."""
    return _laid_out(case, None)


def _laid_out(case: Case, generator: Generator) -> Arguments:
    made = case.operation.make(case, generator)
    made["grad"] = draw(generator, *case.output_shape).to(case.dtype)
    if case.memory_format is not None:
        for name in (*case.operation.features, "grad"):
            if made[name].dim() == 4:
                made[name] = made[name].contiguous(memory_format=case.memory_format)
    return made


def inputs_of(drawn: Arguments, gradients: bool) -> Arguments:
    inputs = {name: tensor.detach() for name, tensor in drawn.items() if name != "grad"}
    for tensor in inputs.values():
        tensor.requires_grad_(gradients and tensor.is_floating_point())
    return inputs


def leaves_of(inputs: Arguments) -> Arguments:
    """Those of them that get a gradient."""
    return {name: tensor for name, tensor in inputs.items() if tensor.requires_grad}


def prepare(function: Function, drawn: Arguments, direction: str) -> Function:
    """What is timed."""
    inputs = inputs_of(drawn, direction != "forward")
    leaves = list(leaves_of(inputs).values())
    if direction == "forward":

        def forward() -> object:
            with torch.no_grad():
                return function(**inputs)

        return forward
    if direction == "both":

        def both() -> object:
            output = function(**inputs)
            return torch.autograd.grad(output, leaves, drawn["grad"].to(output.dtype))

        return both
    output = function(**inputs)
    grad = drawn["grad"].to(output.dtype)
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)
