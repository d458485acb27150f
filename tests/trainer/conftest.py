from collections.abc import Iterator

import pytest
from rank_processes import RankProcesses

from sentinel.trainer.data import ensure_dataset
from sentinel.trainer.layout import layout_of
from sentinel.trainer.settings import TrainerSettings

SIZES = {"dim": 32, "expert_dim": 32, "sequence": 16, "batch": 2, "records": 64, "world_max": 2}


@pytest.fixture(scope="session")
def ranks() -> Iterator[RankProcesses]:
    processes = RankProcesses(2)
    yield processes
    processes.stop()


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainerSettings:
    return TrainerSettings(data=str(tmp_path_factory.mktemp("trainer") / "data"), **SIZES)


@pytest.fixture
def poisoned(settings: TrainerSettings, tmp_path: object) -> TrainerSettings:
    """The same run on a dataset of its own, which a test may damage."""
    own = TrainerSettings(data=f"{tmp_path}/data", **SIZES)
    ensure_dataset(own.data, layout_of(own))
    return own
