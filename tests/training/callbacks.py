"""A callback for the tests of resuming."""

import os
import signal

import lightning as L


class KillAt(L.Callback):
    """Ends the process with SIGKILL as soon as a step is done, as a node that fails would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
