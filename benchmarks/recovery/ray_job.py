"""The workload as a user of Ray Train writes it: a TorchTrainer with a FailureConfig on a local Ray."""

import argparse

import ray
import workload
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

SPARE_CPUS = 2
"""So that placing a restarted group never waits for the old one's CPUs."""


def train() -> None:
    """Train on the process group that Ray has formed."""
    import workload

    workload.train()


def main() -> None:
    """Start a cluster of this process's own, and train on it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, required=True)
    workers = parser.parse_args().workers
    folder = workload.FOLDER
    ray.init(
        address="local",
        num_cpus=workers + SPARE_CPUS,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        _temp_dir=str(folder / "ray"),
    )
    timeout = {} if workload.TIMEOUT_S is None else {"timeout_s": int(workload.TIMEOUT_S)}
    TorchTrainer(
        train,
        torch_config=TorchConfig(backend="gloo", **timeout),
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(storage_path=str(folder), failure_config=FailureConfig(max_failures=3)),
    ).fit()


if __name__ == "__main__":
    main()
