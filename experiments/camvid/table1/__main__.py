"""``python -m experiments.camvid.table1``: the paper's Table I in small, on CamVid.

Trains the baseline (bilinear, F4), with SRM, with CRM and with both, each from the same seeds and
with the same budget, and compares them on the validation images. It takes hours: killed at any
time and started again with the same options, it goes on where it was, at the last checkpoint of
each run. Several of these commands may work on one folder; a run belongs to one at a time.
"""

from __future__ import annotations

import sys

from .. import command
from . import EXPERIMENT

if __name__ == "__main__":
    sys.exit(command.main(EXPERIMENT, __doc__))
