"""Where CamVid is, for everything that measures on it."""

from __future__ import annotations

import os
from pathlib import Path

from .checkout import ROOT


def camvid_root() -> Path | None:
    """The folder of CamVid: $SCRN_CAMVID, or data/camvid in the checkout."""
    named = os.environ.get("SCRN_CAMVID")
    root = Path(named) if named else ROOT / "data" / "camvid"
    if (root / "valannot").is_dir():
        return root
    if named:
        raise FileNotFoundError(f"SCRN_CAMVID: expected a folder with valannot/ in it, got {named}")
    return None
