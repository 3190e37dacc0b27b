"""``python -m experiments.camvid.drives``: which network holds on a drive that it has not seen.

CamVid's training and validation images come from a few drives, which their names tell. Each drive
is left out once: a network is trained on the others and scored on all images of that one, from
several seeds. One thing at a time is changed from a plain pyramid to the packaged network, and
then in the recipe. All variants take many hours: killed at any time and started again with the
same options, it goes on where it was, at the last checkpoint of each run. Several of these commands
may work on one folder; a run belongs to one at a time.
"""

from __future__ import annotations

import sys

from .. import command
from . import EXPERIMENT

if __name__ == "__main__":
    sys.exit(command.main(EXPERIMENT, __doc__))
