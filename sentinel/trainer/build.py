"""Model and optimizer on the current process group."""

import os
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from sentinel.model.trainable import Place
from sentinel.trainer.checksums import LocalGradients
from sentinel.trainer.collectives import CollectiveWatch, WatchedAllGather, WatchedReduceScatter
from sentinel.trainer.moe import MoeModel
from sentinel.trainer.settings import TrainerSettings

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's running means, one of each per parameter and of its shape."""


def torch_device(place: Place) -> torch.device:
    """The GPU of this place under NCCL, else the CPU."""
    if place.backend != "nccl":
        return torch.device("cpu")
    device = torch.device("cuda", place.gpu % torch.cuda.device_count())  # one may be all that is visible
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS sums in one order only with this
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes no result here
    torch.cuda.set_device(device)
    return device


def sharded_model(
    settings: TrainerSettings,
    device: torch.device,
    place: Place,
    watch: CollectiveWatch,
    local: LocalGradients,
) -> Any:
    """The model from the seed, every parameter sharded over all ranks.

    Raises RuntimeError where torch gives this rank another one's shard.
    """
    torch.manual_seed(settings.seed)
    model = MoeModel(settings).to(device)  # drawn on the CPU, so that every world size starts alike
    # torch keeps what it has derived for a mesh and takes it for each equal one, also of a group that is gone
    # and in which this process had another rank. By the rank they differ; by the generation each would be
    # kept with its group's sockets.
    mesh = init_device_mesh(device.type, (place.world,), mesh_dim_names=(f"rank-{place.rank}",))
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if settings.bfloat16 else None, reduce_dtype=torch.float32
    )
    apart = settings.shard_blocks
    for module in (*model.blocks, model) if apart else (model,):
        fully_shard(module, mesh=mesh, mp_policy=precision, reshard_after_forward=apart)
        module.set_custom_all_gather(WatchedAllGather(watch))
        module.set_custom_reduce_scatter(WatchedReduceScatter(watch, local))
    held = {tuple(parameter.device_mesh.get_coordinate() or ()) for parameter in model.parameters()}
    if held != {(place.rank,)}:
        raise RuntimeError(f"rank {place.rank} was given shards of {sorted(held)}")
    return model


def adamw(model: Any, settings: TrainerSettings) -> Any:
    """AdamW whose moments exist before the first step, so that a state can be loaded into them."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        state["step"] = torch.zeros((), device=parameter.device)
        for moment in MOMENTS:
            state[moment] = torch.zeros_like(parameter)
    return optimizer
