"""Python's classes and times of a photo beside those of the C++ program.

python examples/cpp/compare.py PACKAGE.pt2 PHOTO CLASSES.png [MODEL]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

import scrn

TURNS = 20

package_file, photo_file, classes_file, *model = sys.argv[1:]
saved = scrn.load_model(*model)  # before the package: this loads the operators
fused = saved.fuse()
package = torch._inductor.aoti_load_package(package_file)
short_side = min(json.loads(package.get_metadata()["size"]))
photo = np.array(Image.open(photo_file).convert("RGB"))
calls: dict[str, Callable[[], np.ndarray]] = {
    "the package in Python": lambda: package(torch.from_numpy(photo)).numpy(),
    "the network, fused": lambda: fused.predict(photo, short_side=short_side).labels,
    "the network": lambda: saved.predict(photo, short_side=short_side).labels,
}
classes = np.array(Image.open(classes_file))
times: dict[str, list[float]] = {name: [] for name in calls}
for name, call in calls.items():
    print(f"{name}: {(call() == classes).mean():.3%} of the pixels as in {classes_file}")
for _ in range(TURNS):
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        times[name].append(1e3 * (time.perf_counter() - start))
for name, each in times.items():
    print(f"{name}: {statistics.median(each):.1f} ms, {torch.get_num_threads()} threads")
