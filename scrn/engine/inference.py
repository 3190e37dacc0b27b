"""Class probabilities and classes of an image: whole, by a sliding window, at several scales,
flipped.

Full-size maps of all classes are formed in bands of rows, but where they are the result, and where
the logits of all scales together are larger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from scrn_ops import upsampled_argmax

from ..models.network import MIN_SIZE, SCRN

_BAND = 1 << 24
"""Values of a full-size map that are held at a time: 64 MiB in float32."""


@dataclass(frozen=True)
class Inference:
    """How an image is evaluated.

    Args:
        window: (height, width) of the sliding window; None takes the whole image.
        stride: (rows, columns) between windows; None is two thirds of the window.
        scales: factors of the image's size; the probabilities are averaged over them.
        flip: averages with the mirrored image, too.
    """

    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.scales, tuple | list):
            raise TypeError(f"scales: expected a tuple of numbers, got {self.scales!r}")
        if not self.scales or any(s <= 0 for s in self.scales):
            raise ValueError(f"scales: expected numbers above 0, got {self.scales}")
        if self.stride is not None and self.window is None:
            raise ValueError("stride: expected None without a window")
        for name in ("window", "stride"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple | list):
                raise TypeError(f"{name}: expected two numbers or None, got {value!r}")
            if value is not None and (len(value) != 2 or min(value) < 1):
                raise ValueError(f"{name}: expected two numbers of at least 1, got {value}")
        if (
            self.window
            and self.stride
            and any(s > w for s, w in zip(self.stride, self.window, strict=True))
        ):
            raise ValueError(
                f"stride: expected at most the window {self.window}, got {self.stride}"
            )


def fastest_layout(device: str | torch.device) -> torch.memory_format:
    """channels_last on the CPU. On a GPU NCHW: cuDNN's depthwise convolutions took twice as long in
    the other, and the fused ones have fewer halos in NCHW."""
    cpu = torch.device(device).type == "cpu"
    return torch.channels_last if cpu else torch.contiguous_format


def check_short_side(value: int | None) -> None:
    """Raises a ValueError for a short side that the network refuses; 0 keeps an image's size."""
    if value is not None and value != 0 and value < MIN_SIZE:
        raise ValueError(f"short_side: expected 0, or at least {MIN_SIZE}, got {value}")


def multiplies_bfloat16(device: str | torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16."""
    device = torch.device(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def probabilities(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    inference: Inference | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Mean softmax over scales and flips, ``[B, classes, *size]``, fp32.

    Args:
        model: maps a normalised image ``[B, 3, h, w]`` to logits ``[B, classes, h, w]``.
        image: ``[B, 3, H, W]``, normalised.
        size: size of the result; default the image's.
    """
    size = size or (image.shape[-2], image.shape[-1])
    result: Tensor | None = None
    for rows, band in probability_bands(model, image, inference, size):
        if result is None:
            result = band.new_empty(*band.shape[:2], *size)
        result[:, :, rows] = band
    assert result is not None
    return result


def probability_bands(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    inference: Inference | None,
    size: tuple[int, int],
) -> Iterator[tuple[slice, Tensor]]:
    """The rows of :func:`probabilities`, some at a time, each with where they belong."""
    inference = inference or Inference()
    maps: list[Tensor] = []
    total: Tensor | None = None

    def added_up(rows: slice) -> Tensor:
        shares = [_resized_rows(each, size, rows).softmax(1) for each in maps]
        if total is not None:
            shares.append(total[:, :, rows])
        return sum(shares[1:], start=shares[0])

    number = len(inference.scales) * (1 + inference.flip)
    for scale in inference.scales:
        scaled = _resize(image, [max(1, round(n * scale)) for n in image.shape[-2:]])
        for flip in (False, True) if inference.flip else (False,):
            logits = _logits(model, scaled.flip(-1) if flip else scaled, inference)
            maps.append(logits.flip(-1) if flip else logits)
            bands = _bands(logits, size)
            if sum(each.numel() for each in maps) > logits[:, :, 0, 0].numel() * size[0] * size[1]:
                whole = logits.new_empty(*logits.shape[:2], *size, dtype=torch.float32)
                for rows in bands:
                    whole[:, :, rows] = added_up(rows)
                total = whole
                maps.clear()
    for rows in bands:
        yield rows, added_up(rows) / number


def _bands(logits: Tensor, size: tuple[int, int]) -> list[slice]:
    count = max(1, _BAND // (logits.shape[0] * logits.shape[1] * size[1]))
    return [slice(top, min(top + count, size[0])) for top in range(0, size[0], count)]


def predicted_labels(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    inference: Inference | None = None,
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """The most probable classes, ``[B, *size]``: the argmax of :func:`probabilities`.

    At one scale without flips neither probabilities nor logits of that size are formed, and
    otherwise some rows at a time. ``dtype`` is int64, or uint8 for up to 256 classes.
    """
    inference = inference or Inference()
    size = size or (image.shape[-2], image.shape[-1])
    if inference.scales != (1.0,) or inference.flip:
        labels = image.new_empty(image.shape[0], *size, dtype=dtype)
        for rows, band in probability_bands(model, image, inference, size):
            labels[:, rows] = band.argmax(1)
        return labels
    if isinstance(model, SCRN) and inference.window is None and size == tuple(image.shape[-2:]):
        logits = model(image, full_size=False)
    else:
        logits = _logits(model, image, inference)
    return most_likely(model, logits, size, dtype)


def most_likely(
    model: Callable[[Tensor], Tensor], logits: Tensor, size: tuple[int, int], dtype: torch.dtype
) -> Tensor:
    """The argmax of logits that are brought to ``size``, by the model's own backend."""
    backend = model.backend if isinstance(model, SCRN) else None
    labels: Any = upsampled_argmax(logits, size, dtype=dtype, backend=backend)
    return cast(Tensor, labels)


def sliding_logits(
    model: Callable[[Tensor], Tensor],
    read: Callable[[int], Tensor],
    size: tuple[int, int],
    inference: Inference,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mean logits of the windows, from the top, as soon as no further window covers the rows.

    Args:
        model: maps a window ``[B, 3, h, w]`` of what ``read`` gives to logits of that size.
        read: the image's next rows, ``[B, 3, rows, W]``, as many as it is asked for.
        size: (height, width) of the image.

    Yields:
        The rows' pixels and their logits, fp32. No more rows are held than a window has.
    """
    assert inference.window is not None
    height, width = size
    wh, ww = min(inference.window[0], height), min(inference.window[1], width)
    stride = inference.stride or tuple(max(1, 2 * n // 3) for n in inference.window)
    tops = _starts(height, wh, stride[0])
    pixels = read(wh)
    total: Tensor | None = None
    count = torch.zeros(wh, width)
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        for left in _starts(width, ww, stride[1]):
            columns = slice(left, left + ww)
            logits = model(pixels[..., columns]).float()
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], wh, width)
            total[..., columns] += logits
            count[:, columns] += 1
        assert total is not None
        done, kept = following - top, wh - (following - top)
        rows = max(1, _BAND // (total.shape[0] * total.shape[1] * width))
        for start in range(0, done, rows):
            part = slice(start, min(start + rows, done))
            yield pixels[:, :, part], total[:, :, part] / count[part].to(total.device)
        if following < height:
            pixels = torch.cat((pixels[:, :, done:], read(done)), 2)
            # The rows that stay move up; the buffers are the same throughout.
            for row in range(kept):
                total[:, :, row] = total[:, :, row + done]
                count[row] = count[row + done]
            total[:, :, kept:] = 0
            count[kept:] = 0


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def _resized_rows(logits: Tensor, size: tuple[int, int], rows: slice) -> Tensor:
    """These rows of the logits resized to ``size``, fp32."""
    height = logits.shape[2]
    if tuple(logits.shape[-2:]) == size:
        return logits[:, :, rows].float()
    row = torch.arange(rows.start, rows.stop, device=logits.device, dtype=torch.float64)
    position = ((row + 0.5) * (height / size[0]) - 0.5).clamp(min=0)
    above = position.long().clamp(max=height - 1)
    below = (above + 1).clamp(max=height - 1)
    weight = (position - above).float()[:, None]
    upper, lower = logits[:, :, above].float(), logits[:, :, below].float()
    return _resize(upper * (1 - weight) + lower * weight, (rows.stop - rows.start, size[1]))


def _logits(model: Callable[[Tensor], Tensor], image: Tensor, inference: Inference) -> Tensor:
    height, width = image.shape[-2:]
    if inference.window is None:
        return model(image)
    if inference.window[0] >= height and inference.window[1] >= width:
        return model(image)
    unread = image

    def read(count: int) -> Tensor:
        nonlocal unread
        rows, unread = unread[:, :, :count], unread[:, :, count:]
        return rows

    parts = [logits for _, logits in sliding_logits(model, read, (height, width), inference)]
    return torch.cat(parts, 2)


def _starts(length: int, window: int, stride: int) -> list[int]:
    # The last window ends at the border instead of reaching beyond it.
    return sorted({min(s, length - window) for s in range(0, length - window + stride, stride)})
