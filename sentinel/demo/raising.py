"""The bundled trainer with a defect that the demo switches on: it raises at one step, or on one node."""

import json
import os
from pathlib import Path

from sentinel.model.trainable import StepResult
from sentinel.trainer.moe_trainer import MoeTrainer
from sentinel.trainer.settings import SETTINGS_VARIABLE

PLAN_FILE = "raise.json"
"""Lies beside the trainer's settings: `{"step": 40, "rank": 1}`, or `{"step": 40, "node": "n2"}`."""


class RaisingTrainer(MoeTrainer):
    """Raises what a wrong token id would raise."""

    def step(self, step: int, vote: int) -> StepResult:
        """Train, unless the plan says: one rank at one step, or every rank of a node from a step on."""
        if self._is_planned(step):
            raise IndexError(f"token 50304 of batch {step} is outside the vocabulary")
        return super().step(step, vote)

    def _is_planned(self, step: int) -> bool:
        try:
            plan = json.loads(Path(os.environ[SETTINGS_VARIABLE]).with_name(PLAN_FILE).read_text())
        except FileNotFoundError:
            return False
        if "node" in plan:
            return bool(step >= plan["step"] and os.environ.get("SENTINEL_NODE") == plan["node"])
        return bool((step, self._place.rank) == (plan["step"], plan["rank"]))
