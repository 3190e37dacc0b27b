"""How operators are called and differentiated: in a plain call, in a trace, in torch.func."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.autograd import Function

from .direct import direct
from .vmap import fold_batch_dims

_ops = torch.ops.scrn_ops

_functorch_transforms_active = torch._C._are_functorch_transforms_active
_is_compiling = torch.compiler.is_compiling
_has_torch_function = torch.overrides.has_torch_function
_tracing_state = torch._C._get_tracing_state
_is_grad_enabled = torch.is_grad_enabled
_any_requires_grad = torch._C._any_requires_grad
_BelowAutograd = torch._C._AutoDispatchBelowAutograd


def refuse_forward_mode(name: str) -> NoReturn:
    raise NotImplementedError(
        f"scrn_ops.{name}: forward-mode differentiation (torch.func.jvp, jacfwd, dual numbers) "
        'is not implemented by the fused kernels; backend="reference" supports it'
    )


def refuse_second_derivative(name: str) -> NoReturn:
    raise NotImplementedError(
        f"scrn_ops.{name}: the backward of the fused kernels cannot be differentiated again; "
        'backend="reference" is twice differentiable'
    )


def wanted(
    gradients: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Tensor, ...] | list[Tensor | None]:
    if False not in needs:
        return gradients
    return [g if need else None for g, need in zip(gradients, needs, strict=True)]


class OperatorFunction(Function):
    """A function whose forward is an operator of ``torch.ops.scrn_ops``; subclasses say which, and
    add its ``setup_context`` and ``backward``.

    ``fold`` is the rule for vmap, as :func:`scrn_ops._core.vmap.register_vmap` takes it.
    A ``backward`` brings what was saved into the gradient's type: autocast may have acted below the
    function that saved it.
    """

    operator: str
    fold: Callable[..., tuple[Any, Any]] = staticmethod(fold_batch_dims)

    # Not by keywords of the class statement, which autograd's metaclass does not take.
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name, fold = cls.operator, cls.fold
        overload = getattr(_ops, name).default

        arguments = overload._schema.arguments

        def forward(*args: Any) -> Any:
            if len(args) != len(arguments):
                names = ", ".join(each.name for each in arguments)
                raise TypeError(f"{cls.__name__}.apply: expected {names}; got {len(args)} of them")
            return overload(*args)

        def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
            refuse_forward_mode(name.removesuffix("_backward"))

        def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
            return fold(cls.apply, info.batch_size, in_dims, args)

        for member in (forward, jvp, vmap):
            if member.__name__ not in cls.__dict__:
                setattr(cls, member.__name__, staticmethod(member))


def backward_function(
    name: str, rule: Callable[..., tuple[Any, Any]] = fold_batch_dims
) -> type[OperatorFunction]:
    """The function of a backward operator, which cannot be differentiated again.

    Args:
        name: of the operator.
        rule: for vmap.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
        refuse_second_derivative(name.removesuffix("_backward"))

    members = {
        "operator": name,
        "fold": staticmethod(rule),
        "setup_context": staticmethod(setup_context),
        "backward": staticmethod(backward),
        "__module__": sys._getframe(1).f_globals["__name__"],  # where it can be found by its name
    }
    return type(name.title().replace("_", ""), (OperatorFunction,), members)


def apply_operator(function: type[Function], operator: Any, *args: Any) -> Any:
    """``operator(*args)`` with the derivative of ``function``, by the cheapest way there is.

    torch.func can transform a function's autograd, but not an operator's. What traces,
    differentiates forward or takes part by __torch_function__, where it may compute what is to be
    differentiated, gets the operator, one node of a traced graph. The operator's own autograd is
    Python that takes several times as long as that of a node of the graph, which everybody else
    gets, and only where something is differentiated.
    """
    if _functorch_transforms_active():
        return function.apply(*args)
    if _is_compiling() or forward_ad._current_level >= 0 or _has_torch_function(args):
        return operator(*args)
    if _is_grad_enabled() and _any_requires_grad(*args):
        # torch.jit.trace writes a Function down as a call of Python.
        call = _NODES[function].apply if _tracing_state() is None else operator
        return call(*args)
    with _BelowAutograd():
        return direct(operator, args)(*args)


_NODES: dict[type[Function], type[Function]] = {}


def _register_node(function: type[Function], operator: Any) -> None:
    """The function as a node for the graph. A ``forward`` that takes ``ctx`` spares what torch
    does for ``setup_context``: to bind the arguments to the signature takes longer than the
    whole of a small kernel's launch."""

    def forward(ctx: Any, *args: Any) -> Any:
        with _BelowAutograd():
            output = direct(operator, args)(*args)
        function.setup_context(ctx, args, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
    _NODES[function] = type(function.__name__, (Function,), members)


class _Registrations(torch.library.Library):
    """torch's autograd kernel for an operator drops the tangents of its arguments without a
    word, where it does not find a gradient to compute: this puts the refusal in front of it."""

    def impl(
        self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", **kwargs: Any
    ) -> Any:
        kernel = fn
        if dispatch_key == "Autograd":

            def kernel(keyset: Any, *args: Any) -> Any:
                # Outside of any dual level, nearly always, there is no tangent to look for.
                if forward_ad._current_level >= 0 and any(map(has_tangent, args)):
                    refuse_forward_mode(op_name.removesuffix("_backward"))
                return fn(keyset, *args)

        return super().impl(op_name, kernel, dispatch_key, **kwargs)  # type: ignore[no-untyped-call]


def has_tangent(arg: Any) -> bool:
    if forward_ad._current_level < 0 or not isinstance(arg, Tensor):
        return False
    return forward_ad.unpack_dual(arg).tangent is not None


_library = _Registrations("scrn_ops", "IMPL")  # type: ignore[no-untyped-call]


def register_autograd(*functions: type[OperatorFunction]) -> None:
    """Gives the functions' operators their derivatives."""
    for function in functions:
        name = function.operator
        torch.library.register_autograd(
            f"scrn_ops::{name}",
            function.backward,
            setup_context=function.setup_context,
            lib=_library,
        )
        _register_node(function, getattr(_ops, name).default)
