"""A back end is found by its name, and one that is none is said in one line."""

import pytest

from sentinel import backends
from sentinel.backends.port import Backend
from sentinel.config import Cluster, ConfigError, Job, Settings
from sentinel.runtime.controller import _backend


def test_rays_is_the_default_and_anybodys_module_is_found_as_well() -> None:
    assert backends.load(Cluster().backend).__name__ == "sentinel.backends.ray"  # type: ignore[attr-defined]
    assert backends.load("file_backend").__name__ == "file_backend"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("slurn", "No module named 'slurn'"),
        ("json", "json has no connect, unready, daemon"),
        ("port", "sentinel.backends.port has no connect"),
        ("nowhere.at.all", "No module named 'nowhere'"),
    ],
)
def test_what_is_no_back_end_is_said(name: str, why: str) -> None:
    with pytest.raises(backends.UnknownBackendError, match=f"cluster.backend {name}: .*{why}"):
        backends.load(name)


def test_a_back_end_without_a_gang_has_no_job_of_ours() -> None:
    only_nodes = Cluster(backend="file_backend")
    assert isinstance(_backend(Settings(cluster=only_nodes, job=Job(world=0))), Backend)
    with pytest.raises(ConfigError, match=r"job\.world 2: cluster\.backend file_backend starts no ranks"):
        _backend(Settings(cluster=only_nodes, job=Job(world=2)))
