"""A node's simulated GPU: how fast it is, whether it is there, whether it computes correctly."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentinel.model.ids import Seconds

DEVICE_VARIABLE = "SENTINEL_DEVICE_FILE"
"""Environment variable that holds the path of this node's device file."""


class SimulatedDevice:
    """A GPU of the node's device file, `{"gpus": [{"index": 0, "present": true, "speed": 1.0, ...}]}`.

    A person or an injector may edit the file at any time: `present` false loses the GPU, `speed` 0.33 makes
    it three times slower, `corrupt` makes every result NaN, `flip` turns a bit in all gradients that it
    computes, and `corrupt_next` and `flip_next` spoil one result per edit.
    """

    def __init__(self, path: str | None = None) -> None:
        file = path or os.environ.get(DEVICE_VARIABLE)
        self._path = Path(file) if file else None
        self._seen: tuple[int, int] | None = None
        self._gpus: Mapping[int, Mapping[str, Any]] = {}
        self._once: Mapping[str, Any] = {}
        self.corrupt = False
        """Whether the last `run` gave no number."""
        self.flips = False
        """Whether it silently computed wrong numbers."""

    def run(self, gpu: int, seconds: Seconds) -> None:
        """Be busy for `seconds` of a healthy GPU's time; raises RuntimeError when the GPU is gone."""
        self._refresh(gpu)
        fields = self._gpus.get(gpu, {})
        if not fields.get("present", self._seen is None or gpu in self._gpus):
            raise RuntimeError(f"CUDA error: device lost (simulated GPU {gpu} does not answer)")
        self.corrupt = bool(fields.get("corrupt") or self._once.get("corrupt_next"))
        self.flips = bool(fields.get("flip") or self._once.get("flip_next"))
        self._once = {}
        if seconds > 0:
            time.sleep(seconds / max(float(fields.get("speed", 1.0)), 1e-3))

    def _refresh(self, gpu: int) -> None:
        """Read the file again when it has changed; a half-written one leaves the last good values."""
        if self._path is None:
            return
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) == self._seen:
                return
            gpus = json.loads(self._path.read_text(encoding="utf-8"))["gpus"]
            self._gpus = {int(fields["index"]): fields for fields in gpus}
        except (OSError, ValueError, KeyError, TypeError):
            return
        edited = self._seen is not None  # what was there before this process is not meant for it
        self._once = self._gpus.get(gpu, {}) if edited else {}
        self._seen = (stat.st_mtime_ns, stat.st_ino)
