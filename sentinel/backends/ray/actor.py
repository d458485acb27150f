"""A worker as a Ray actor: a thin shell whose calls are answered while the training thread works."""

import os
from pathlib import Path

from sentinel import logs
from sentinel.gang.orders import FormOrder, WorkerSpec, pack, unpack


class RankActor:
    """Detached, never restarted by Ray: who takes a place is the controller's decision."""

    def __init__(self, spec: bytes, worker: str, memory: str, gpu: int) -> None:
        if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
            del os.environ["CUDA_VISIBLE_DEVICES"]  # Ray hides GPUs from actors that reserve none
        import ray.util

        from sentinel.gang.group import use_interface  # torch is imported in the worker, not in the driver
        from sentinel.gang.rank import RankRunner

        logs.to_stdout(alone=False)
        use_interface(os.environ.get("SENTINEL_ADDRESS") or ray.util.get_node_ip_address())
        folder = Path(os.environ.get("SENTINEL_MEMORY", memory))
        self._runner = RankRunner(unpack(WorkerSpec, spec), worker, folder, gpu)

    def status(self) -> bytes:
        """Say pid, generation and step: a `WorkerStatus`."""
        return pack(self._runner.status())

    def serve_store(self, generation: int, world: int, host: str) -> int:
        """Open the rendezvous store of a generation; returns its port."""
        return self._runner.serve_store(generation, world, host)

    def pause(self, generation: int, saves: bool = False) -> bool:  # Ray passes it on
        """Stop at the next step boundary, with a checkpoint of it if the gang changes its size."""
        return self._runner.pause(generation, saves)

    def form(self, order: bytes) -> bytes:
        """Join a generation by a `FormOrder`; returns when its state is loaded, `Formed` or `Overtaken`."""
        return pack(self._runner.form(unpack(FormOrder, order)))
