"""A worker as a Ray actor: a thin shell whose calls are answered while the training thread works."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from sentinel import logs
from sentinel.gang.orders import FormOrder, WorkerSpec


class RankActor:
    """Detached, never restarted by Ray: who takes a place is the controller's decision."""

    def __init__(self, spec: dict[str, Any], worker: str, memory: str, gpu: int) -> None:
        if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
            del os.environ["CUDA_VISIBLE_DEVICES"]  # Ray hides GPUs from actors that reserve none
        import ray.util

        from sentinel.gang.group import use_interface  # torch is imported in the worker, not in the driver
        from sentinel.gang.rank import RankRunner

        logs.to_stdout()
        use_interface(os.environ.get("SENTINEL_ADDRESS") or ray.util.get_node_ip_address())
        folder = Path(os.environ.get("SENTINEL_MEMORY", memory))
        self._runner = RankRunner(WorkerSpec(**spec), worker, folder, gpu)

    def status(self) -> dict[str, int]:
        """Say pid, generation and step."""
        return self._runner.status()

    def serve_store(self, generation: int, world: int, host: str) -> int:
        """Open the rendezvous store of a generation; returns its port."""
        return self._runner.serve_store(generation, world, host)

    def pause(self, generation: int) -> bool:
        """Stop at the next step boundary."""
        return self._runner.pause(generation)

    def form(self, order: dict[str, Any]) -> dict[str, Any]:
        """Join a generation; returns when its state is loaded."""
        made = FormOrder(**{**order, "store": tuple(order["store"])})
        return dataclasses.asdict(self._runner.form(made))
