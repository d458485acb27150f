"""The bundled trainer for several nodes that are really one GPU: NCCL must take them for different hosts."""

import os

from sentinel.trainer.moe_trainer import MoeTrainer


class OneGpuTrainer(MoeTrainer):
    """Each simulated node is a host of its own for NCCL."""

    def __init__(self) -> None:
        os.environ["NCCL_HOSTID"] = os.environ["SENTINEL_NODE"]
        os.environ["NCCL_SOCKET_IFNAME"] = "lo"
        super().__init__()
