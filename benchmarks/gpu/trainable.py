"""The bundled trainer on real GPUs, which it can be told to misuse."""

import os
from pathlib import Path
from typing import Any

import torch

from sentinel.model.trainable import Beats, Place, StepResult
from sentinel.trainer.moe_trainer import MoeTrainer
from sentinel.trainer.simulated_device import SimulatedDevice

OUT_OF_BOUNDS = "out-of-bounds"
"""File in a node's directory that names the GPU whose rank shall write where no memory is."""
FAR = 1 << 39
"""Bytes beyond any allocation."""


class GpuTrainer(MoeTrainer):
    """Trains as usual; on one shared GPU each simulated node is a host of its own for NCCL."""

    def __init__(self) -> None:
        root = Path(os.environ["SENTINEL_HOST_ROOT"])
        self._order = root / OUT_OF_BOUNDS
        if torch.cuda.device_count() == 1:
            os.environ["NCCL_HOSTID"] = os.environ["SENTINEL_NODE"]
            os.environ["NCCL_SOCKET_IFNAME"] = "lo"
        super().__init__()
        self._device = SimulatedDevice(str(root / "gpus.json"))  # which bits to turn; agents ask the driver

    def setup(self, place: Place, beats: Beats) -> None:
        """Remember the GPU; an order that is older than this generation is not meant for it."""
        super().setup(place, beats)
        self._gpu, self._obeyed = place.gpu, self._ordered_at()

    def step(self, step: int, vote: int) -> StepResult:
        """Train, unless told to break something first."""
        if self._ordered_at() > self._obeyed and self._order.read_text() == str(self._gpu):
            _write_far_away()
        return super().step(step, vote)

    def _ordered_at(self) -> int:
        """Give the time of the last order in ns, 0 if there is none."""
        try:
            return self._order.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


class _Vast:
    """Claims far more memory behind a tensor's address than was allocated."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.__cuda_array_interface__: dict[str, Any] = {
            "shape": (2 * FAR,),
            "typestr": "|u1",
            "data": (tensor.data_ptr(), False),
            "version": 3,
        }


def _write_far_away() -> None:
    """Write out of bounds in a kernel, which no call checks; CUDA raises, and the kernel log says Xid 31."""
    vast = torch.as_tensor(_Vast(torch.zeros(1, dtype=torch.uint8, device="cuda")), device="cuda")
    vast[FAR : FAR + 1].add_(1)
    torch.cuda.synchronize()
