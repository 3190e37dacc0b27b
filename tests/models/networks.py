"""Which combinations of backbone, upsampler and context module are tested."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from scrn.models import BACKBONES, CONTEXTS, UPSAMPLERS

TINY = "timm:test_resnet"
LITE = "timm:tf_efficientnet_lite0"  # which pads by the size of its maps
TIMM = ("timm:resnet18", LITE, TINY)


class Network(NamedTuple):
    backbone: str
    upsampler: str
    context: str

    @property
    def is_tiny(self) -> bool:
        """Whether no other backbone in the selection has the same code and fewer blocks."""
        return self.backbone.endswith("_t") or self.backbone in (TINY, LITE)

    @property
    def arguments(self) -> dict[str, str]:
        return {"upsampler": self.upsampler, "context": self.context}

    def __str__(self) -> str:
        return "-".join(self)


EVERY = [Network(*names) for names in itertools.product((*BACKBONES, *TIMM), UPSAMPLERS, CONTEXTS)]
# Every backbone, every context module and every upsampler, the paper's networks among them.
COVERING = [
    Network("mscan_t", "srm", "crm"),
    Network("mscan_s", "fam", "none"),
    Network("mscan_b", "align_fa", "f4"),
    Network("mscan_l", "srm", "crm"),
    Network("van_t", "align_fa", "dappm"),
    Network("van_s", "srm", "crm"),
    Network("van_b", "bilinear", "dam"),
    Network("van_l", "fam", "ppm"),
    Network("timm:resnet18", "bilinear", "ccam"),
    Network(LITE, "srm", "crm"),
    Network(TINY, "srm", "f4"),
    Network(TINY, "bilinear", "none"),
    Network(TINY, "fam", "ppm"),
    Network(TINY, "srm", "ccam"),
    Network(TINY, "align_fa", "dam"),
    Network(TINY, "fam", "crm_scaled"),
    Network(TINY, "srm", "crm_shortcut"),
]
