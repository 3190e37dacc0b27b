"""The optional packages, and the command that brings one that is missing."""

from __future__ import annotations

# The extras of pyproject.toml; "train" includes "network".
_NETWORK = {"huggingface_hub", "safetensors", "timm", "torchvision"}
_TRAIN = {
    "jsonargparse", "lightning", "matplotlib", "numpy", "PIL", "rich", "tensorboard",
    "tifffile", "torchmetrics", "yaml",
}  # fmt: skip
_ONNX = {"onnx", "onnx_ir", "onnxruntime", "onnxscript"}


def hint(error: BaseException, extra: str) -> str:
    """What to install for a failed import, or "" where no extra brings it; ``extra`` is the one
    that the command as a whole needs."""
    missing = (getattr(error, "name", None) or "").split(".")[0]
    if not isinstance(error, ImportError) or missing not in _NETWORK | _TRAIN | _ONNX:
        return ""
    extra = "onnx" if missing in _ONNX else extra
    return f"pip install 'scrn[{extra}]' brings it"
