"""The network and its parts."""

from .backbones import BACKBONES, create_backbone, load_pretrained
from .context import CONTEXTS, create_context
from .decoder import Decoder
from .heads import EmbeddingHead, SegmentationHead
from .network import SCRN, fuse, with_ops
from .upsample import UPSAMPLERS, create_upsampler

__all__ = [
    "BACKBONES",
    "CONTEXTS",
    "SCRN",
    "UPSAMPLERS",
    "Decoder",
    "EmbeddingHead",
    "SegmentationHead",
    "create_backbone",
    "create_context",
    "create_upsampler",
    "fuse",
    "load_pretrained",
    "with_ops",
]
