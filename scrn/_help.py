"""What ``scrn fit --help`` and ``scrn validate --help`` print: the options that matter most, at
once and without an import of Lightning."""

from __future__ import annotations

_USAGE = {
    "fit": """scrn fit --config RECIPE --data.root DIR [--OPTION VALUE ...]

Trains a network.""",
    "validate": """\
scrn validate --config RECIPE --data.root DIR --ckpt_path FILE [--OPTION VALUE ...]

Evaluates a network on the validation images.""",
}

_COMMON = {
    "config": "FILE: a recipe, or the name of one of the package",
    "data.name": "camvid, cityscapes, bdd100k, ade20k, folder (docs/your_data.md)",
    "data.root": "DIR: the images and labels",
    "data.short_side": "N: brings validation images to this short side",
    "data.workers": "N: processes that read images",
    "model.backbone": "mscan_t, _s, _b, _l, van_t, _s, _b, _l, timm:<name>",
    "model.upsampler": "bilinear, fam, align_fa, srm",
    "model.context": "f4, none, ppm, dappm, ccam, dam, crm, crm_scaled, crm_shortcut",
    "model.ops": "fused, eager, reference",
    "trainer.accelerator": "auto, cpu, gpu",
    "trainer.devices": "N: how many of them",
    "trainer.precision": "32-true, bf16-mixed, 16-mixed",
}

OPTIONS = {
    "fit": _COMMON
    | {
        "ckpt_path": "FILE: goes on from this checkpoint of the same training",
        "data.batch_size": "N: images a step, of each process",
        "data.crop": "'[H,W]': of training images",
        "data.scale": "'[LOW,HIGH]': of the random scale",
        "model.weights": "PATH: starts from this network; packaged: that of the package",
        "model.pretrained": "FILE: ImageNet weights of the backbone",
        "model.class_weights": "balanced, or a list: for classes of few pixels",
        "model.lr": "X: learning rate",
        "model.backbone_lr": "X: that of the backbone",
        "model.optimizer": "adam, adamw",
        "model.contrast_weight": "X: of the contrastive loss; 0: without it",
        "trainer.max_epochs": "N",
        "trainer.check_val_every_n_epoch": "N: epochs from one validation to the next",
        "trainer.accumulate_grad_batches": "N: batches of each step",
        "trainer.gradient_clip_val": "X",
    },
    "validate": _COMMON
    | {
        "ckpt_path": "FILE: the checkpoint to evaluate; or --model.weights",
        "model.weights": "PATH: the network, if no checkpoint; packaged: that of the package",
        "model.output": "DIR: for scores.json, iou.png and pictures",
        "model.visualize": "N: images whose pictures are written there",
        "model.baseline": "PATH: another network, shown beside this one",
        "model.scales": "'[S,...]': averages over these scales",
        "model.flip": "true: averages with the mirrored image",
        "model.window": "'[H,W]': slides a window of this size",
        "model.stride": "'[H,W]': from one window to the next",
    },
}


def text(command: str) -> str:
    """The short help of "fit" or "validate"."""
    options = OPTIONS[command]
    width = max(map(len, options)) + 2
    lines = [f"  {'--' + name:{width}}  {meaning}" for name, meaning in sorted(options.items())]
    return "\n".join(
        [
            _USAGE[command],
            "",
            *lines,
            "",
            "--print_config prints all settings with their values and ends; "
            "--help-all explains all options.",
        ]
    )
