"""The semantic and contextual refinement network."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from scrn_ops import upsampled_argmax, upsampled_logits
from scrn_ops._core.checks import Unscriptable, refuse_symbolic_tracing

from .backbones import create_backbone
from .context import create_context
from .decoder import Decoder
from .fusion import InOwnType, fuse_layers, round_layers
from .heads import EmbeddingHead, SegmentationHead
from .packed_conv import pack_convolutions
from .saving import SavedFolder

MIN_SIZE = 32
OPS = ("fused", "eager", "reference")
HALF_TYPES = (torch.bfloat16, torch.float16)
Network = TypeVar("Network", bound=nn.Module)


class SCRN(
    nn.Module,
    SavedFolder,
    Unscriptable,
    library_name="scrn",
    tags=["image-segmentation"],
):
    """Backbone, context module, decoder with learned upsampling, and head.

    The parts are usable alone:

    - ``model.backbone(image)``: the four feature maps, of strides 4, 8, 16 and 32;
    - ``model.context(features)``: the context map, [B, width, H / 32, W / 32];
    - ``model.upsamplers``: the three modules ``(low, high) -> merged``, finest first;
    - ``model.decode(image)``: the decoder's maps, finest first.

    ``save_pretrained`` writes weights (safetensors) and arguments to a folder, from which
    ``SCRN.from_pretrained`` builds the same model, and which ``scrn predict`` reads.

    Args:
        backbone: see :func:`scrn.models.create_backbone`.
        upsampler: ``"bilinear"``, ``"fam"``, ``"align_fa"`` or ``"srm"``.
        context: ``"f4"``, ``"none"``, ``"ppm"``, ``"dappm"``, ``"ccam"``, ``"dam"``, ``"crm"``,
            ``"crm_scaled"``, ``"crm_shortcut"``.
        num_classes: channels of the logits.
        ops: backend of the ops of :mod:`scrn_ops`: ``"fused"``, ``"eager"``, ``"reference"``. The
            backbones' depthwise units have fused kernels for the CPU; elsewhere ``"fused"`` means
            torch's convolutions for them.
        width: channels of the decoder's maps.

    Raises:
        TypeError: a number that is no int.
        ValueError: an unknown name, or a number below 1.
    """

    def __init__(
        self,
        backbone: str = "mscan_s",
        *,
        upsampler: str = "srm",
        context: str = "crm",
        num_classes: int = 19,
        ops: str = "fused",
        width: int = 128,
    ) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("width", width)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name}: expected an int, got {value!r}")
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        _check_ops(ops)
        self.num_classes = num_classes
        self.backend = ops
        self.backbone = create_backbone(backbone, ops)
        channels = self.backbone.channels
        self.context = create_context(context, channels, width, backend=ops)
        self.decoder = Decoder(channels[:3], width, upsampler, ops)
        self.head = SegmentationHead(width, num_classes)
        self.embedding = EmbeddingHead(width)

    @property
    def upsamplers(self) -> nn.ModuleList:
        """The decoder's three upsamplers, to strides 4, 8 and 16."""
        return self.decoder.upsamplers

    def decode(self, image: Tensor) -> list[Tensor]:
        """The decoder's maps [B, width, H_i, W_i] of strides 4, 8, 16 and 32."""
        _check_image(image)
        if not self.training or image.shape[0] != 1 or torch.compiler.is_compiling():
            return self._decode(image)
        try:
            return self._decode(image)
        except ValueError as error:
            # A batch norm's: which size is too small depends on backbone and context.
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                "image: expected at least two images, or a larger one, as batch norms take their "
                f"statistics from more than one value while training, got {list(image.shape)}; "
                "model.eval() is for prediction"
            ) from error

    def _decode(self, image: Tensor) -> list[Tensor]:
        features = self.backbone(image)
        return self.decoder(self.context(features), features[:3])

    def forward(self, image: Tensor, return_embedding: bool = False, full_size: bool = True) -> Any:
        """Logits [B, num_classes, H, W] of normalised images [B, 3, H, W], H and W from 32.

        With ``return_embedding`` also unit-length embeddings [B, 256, H_1, W_1] of the finest
        map, for the contrastive loss: the result is the pair of both. Without ``full_size`` the
        logits stay at the size of that map, as :mod:`scrn.losses` takes them.
        """
        finest = self.decode(image)[0]
        logits = self.head(finest)
        if full_size:
            # Elsewhere, and compiled, PyTorch's own is as good; and no program that is exported
            # on a CPU for another device, or for ONNX, holds an operator for the CPU alone.
            is_ours = logits.device.type == "cpu" and not torch.compiler.is_compiling()
            backend = self.backend if is_ours else "eager"
            logits = upsampled_logits(logits, image.shape[2:], backend=backend)
        if not return_embedding:
            return logits
        return logits, self.embedding(finest)

    @torch.no_grad()
    def segment(self, image: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The classes [B, H, W], int64, of normalised images [B, 3, H, W].

        The full-size logits, of which these are the argmax, are not formed.

        Args:
            image: as of :meth:`forward`.
            size: (H, W) of the result; default the image's.
        """
        logits = self(image, full_size=False)
        size = size or (image.shape[2], image.shape[3])
        labels: Any = upsampled_argmax(logits, size, backend=self.backend)
        return cast(Tensor, labels)

    def fuse(self, dtype: torch.dtype | None = None) -> FusedSCRN:
        """A copy for inference, with the same outputs to rounding, in less time; with ``dtype``, a
        half type, to that type's rounding.

        See :func:`scrn.models.fuse`. The copy has no batch norms, takes no gradients, and is
        neither trained nor saved: save this model.
        """
        return fuse(self, dtype)


class FusedSCRN(SCRN):
    """What :func:`fuse` returns, for inference alone."""

    _half_type: torch.dtype | None = None  # what fuse() was given

    @torch.no_grad()
    def decode(self, image: Tensor) -> list[Tensor]:
        return super().decode(image)

    def _decode(self, image: Tensor) -> list[Tensor]:
        if self._half_type is not None:
            image = image.to(next(self.backbone.parameters()).dtype)
        return super()._decode(image)

    @torch.no_grad()
    def forward(
        self, image: Tensor, return_embedding: bool = False, full_size: bool = True
    ) -> Tensor:
        if return_embedding:
            raise ValueError("return_embedding: a fused model has no embedding head")
        return super().forward(image, full_size=full_size)

    def train(self, mode: bool = True) -> FusedSCRN:
        if mode:
            raise ValueError("train: a fused model is for inference; train the original")
        return super().train(False)

    def fuse(self, dtype: torch.dtype | None = None) -> FusedSCRN:
        raise ValueError(
            "fuse: the model is fused already; a type of its maps is given where it is fused first"
        )

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> Any:
        raise ValueError(
            "save_pretrained: a fused model cannot be built again from its arguments; save the "
            "model that fuse() was called on, and fuse it after loading"
        )


def fuse(model: SCRN, dtype: torch.dtype | None = None) -> FusedSCRN:
    """A copy of the model for inference, with the same outputs to rounding.

    - Batch norms are folded into the convolution before or behind them, layer scales into the
      one before them. A norm with an activation on both sides, as in DAPPM, stays.
    - The refinement modules' compressing convolution runs before the upsampling, and the hidden
      convolutions of its two branches are one.
    - Activations, sums and products overwrite maps that are not needed any more; MLPs run in
      bands of rows on the CPU. The embedding head is dropped.
    - On the CPU, in channels_last, the convolutions' weights are packed at the first call, and what
      follows them is applied in the same pass, by oneDNN or, of plain 3x3 ones in float32, by
      :func:`scrn_ops.conv3x3`; see :class:`scrn.models.packed_conv.PackedConv2d` for when not.

    Of a timm backbone the norms that directly follow a convolution are folded, and the convolution
    applies the activation behind them, where that is a module of torch's ReLU, ReLU6, SiLU,
    Hardswish or exact GELU. oneDNN's ReLU and ReLU6 make 0 of NaN, conv3x3 spreads it. If torch.fx
    cannot trace the backbone, it stays as it is, and a warning says so.

    The copy keeps device and layout; channels_last is the faster one on the CPU, and NCHW on a GPU.

    Args:
        model: of any type of weights.
        dtype: ``torch.bfloat16`` or ``torch.float16`` for maps and weights of that type; None
            keeps the model's. Weights are rounded once, after what was folded into them. Those
            that predict offsets, batch norms that stay, and the last layer with its logits are
            float32 then, and the network takes images of any floating-point type. It pays where
            the processor multiplies that type: bfloat16 on GPUs from compute capability 8.0 and on
            CPUs with AVX512-BF16 or AMX, float16 on GPUs. Activations may be beyond the range of
            float16.

    Raises:
        TypeError: ``dtype`` is no dtype.
        ValueError: another dtype, or a weight is beyond its range.
    """
    if dtype is not None:
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtype: expected a torch.dtype or None, got {dtype!r}")
        if dtype not in HALF_TYPES:
            raise ValueError(f"dtype: expected torch.bfloat16, torch.float16 or None, got {dtype}")
    fused = cast(FusedSCRN, copy.deepcopy(model).eval())
    fused.__class__ = FusedSCRN
    fused.register_module("embedding", None)
    fuse_layers(fused)
    pack_convolutions(fused)
    if dtype is not None:
        fused._half_type = dtype
        fused.float()
        for part in (fused.backbone, fused.context, fused.decoder):
            round_layers(part, dtype)
        head: nn.Module = fused.head
        if isinstance(head, SegmentationHead):
            *hidden, last = head
            for layer in hidden:
                round_layers(layer, dtype)
            head[-1] = InOwnType(last)
        else:
            fused.register_module("head", InOwnType(head))
    return fused.requires_grad_(False)


def with_ops(model: Network, ops: str) -> Network:
    """A copy of the same weights that calls the ops of :mod:`scrn_ops` by another backend.

    Args:
        model: an :class:`SCRN`, what its ``fuse()`` returned, or a module that holds one. Of other
            modules, those whose ``backend`` is one of ours, or None, are taken for ours.
        ops: ``"fused"``, ``"eager"`` or ``"reference"``.

    ``save_pretrained`` still writes the ops that the original was built with;
    ``from_pretrained(folder, ops=...)`` chooses others.

    Raises:
        ValueError: an unknown name.
    """
    _check_ops(ops)
    made = copy.deepcopy(model)
    module: Any
    for module in made.modules():
        if getattr(module, "backend", "") in (None, *OPS):
            module.backend = ops
    return made


def _check_ops(ops: str) -> None:
    if ops not in OPS:
        raise ValueError(f"ops: expected 'fused', 'eager' or 'reference', got {ops!r}")


def _check_image(image: Any) -> None:
    refuse_symbolic_tracing("image", image)
    if not isinstance(image, Tensor):
        raise TypeError(f"image: expected a torch.Tensor, got {type(image).__name__}")
    if not image.is_floating_point():
        raise TypeError(
            "image: expected floating-point numbers, normalised as the network was trained with, "
            f"got {image.dtype}"
        )
    if image.dim() != 4 or image.shape[1] != 3:
        raise ValueError(f"image: expected [B, 3, H, W], got {list(image.shape)}")
    if image.shape[2] < MIN_SIZE or image.shape[3] < MIN_SIZE:
        raise ValueError(
            f"image: expected a height and a width of at least {MIN_SIZE}, "
            f"got {image.shape[2]}x{image.shape[3]}"
        )
