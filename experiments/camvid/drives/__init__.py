from __future__ import annotations

from ..command import Experiment
from ..runs import Budget
from .folds import VARIANTS, runs
from .report import markdown, summarise

EXPERIMENT = Experiment("drives", Budget(epochs=20), VARIANTS, runs, summarise, markdown)
