"""The bundled trainer with a defect that the demo switches on: it raises at one step, or on one node."""

import os
from pathlib import Path

from sentinel.demo import raise_plan
from sentinel.model.trainable import StepResult
from sentinel.trainer.moe_trainer import MoeTrainer
from sentinel.trainer.settings import SETTINGS_VARIABLE


class RaisingTrainer(MoeTrainer):
    """Raises what a wrong token id would raise."""

    def step(self, step: int, vote: int) -> StepResult:
        """Train, unless the plan says: one rank at one step, or every rank of a node from a step on."""
        if self._is_planned(step):
            raise IndexError(f"token 50304 of batch {step} is outside the vocabulary")
        return super().step(step, vote)

    def _is_planned(self, step: int) -> bool:
        if not (plan := raise_plan.read(Path(os.environ[SETTINGS_VARIABLE]).parent)):
            return False
        if "node" in plan:
            return bool(step >= plan["step"] and os.environ.get("SENTINEL_NODE") == plan["node"])
        return bool((step, self._place.rank) == (plan["step"], plan["rank"]))
