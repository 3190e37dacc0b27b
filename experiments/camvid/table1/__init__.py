from __future__ import annotations

from ..command import Experiment
from ..runs import Budget
from .report import markdown, summarise
from .variants import VARIANTS, runs

EXPERIMENT = Experiment("table1", Budget(), VARIANTS, runs, summarise, markdown)
