"""The bundled trainer with what takes long in real runs: a first step that compiles, a save that blocks."""

import os
import time

from sentinel.model.trainable import Beats, Place, StepResult
from sentinel.trainer.moe_trainer import MoeTrainer

FIRST_STEP_S = 15.0
SAVE_S = 6.0


class SlowTrainer(MoeTrainer):
    """Its first step in a generation and rank 0's every save take many times as long as a step."""

    def setup(self, place: Place, beats: Beats) -> None:
        """Build the model; its first step is still to come."""
        super().setup(place, beats)
        self._compiled = False

    def step(self, step: int, vote: int) -> StepResult:
        """Train; the first time after a compilation."""
        if not self._compiled:
            self._compiled = True
            self._beats.phase("compute")
            time.sleep(FIRST_STEP_S)
        return super().step(step, vote)

    def save(self, directory: os.PathLike[str], step: int) -> None:
        """Save; rank 0 holds all others up meanwhile."""
        if self._place.rank == 0:
            time.sleep(SAVE_S)
        super().save(directory, step)
