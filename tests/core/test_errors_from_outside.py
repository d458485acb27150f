"""An error that storage or the network gave is neither the code's fault nor one node's."""

import pytest
from simulated import Simulated

from sentinel.logbook.entry import row
from sentinel.model.action import Page, Refusal, StopJob

OUTSIDE = [
    "OSError: [Errno 5] Input/output error: '/mnt/data/shard-0007.bin'",
    "OSError: [Errno 116] Stale file handle: '/mnt/data/shard-0007.bin'",
    "OSError: [Errno 28] No space left on device",
    "OSError: [Errno 30] Read-only file system: '/mnt/x'",
    "OSError: [Errno 121] Remote I/O error",
    "OSError: [Errno 107] Transport endpoint is not connected: '/mnt/fuse'",
    "OSError: [Errno 112] Host is down",
    "TimeoutError: [Errno 110] Connection timed out",
    "TimeoutError: ",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "ConnectionError: HTTPConnectionPool(host='data', port=80): Max retries exceeded",
    "BrokenPipeError: [Errno 32] Broken pipe",
    "gaierror: [Errno -3] Temporary failure in name resolution",
    "HTTPError: 503 Server Error: Slow Down for url: https://data/7",
    "ValueError: no shard 7; because of OSError: [Errno 5] Input/output error: '/mnt/data/7'",
]
SETTINGS = [
    "FileNotFoundError: [Errno 2] No such file or directory: '/data/7'",
    "PermissionError: [Errno 13] Permission denied: '/data/7'",
    "IsADirectoryError: [Errno 21] Is a directory: '/data'",
    "NotADirectoryError: [Errno 20] Not a directory: '/data/7/x'",
    "gaierror: [Errno -2] Name or service not known",
]
CODE = [
    "ValueError: shape mismatch",
    "KeyError: 'timeout'",
    "OSError: [Errno 22] Invalid argument",
    "IndexError: token 503 is outside the vocabulary",
    "ModuleNotFoundError: No module named 'connection'",
]


def raises(cluster: Simulated, rank: int, error: str, run_s: float = 30.0) -> None:
    cluster.advances = False
    cluster.raises(rank, error)
    cluster.run(run_s)


@pytest.mark.parametrize("error", OUTSIDE)
def test_what_comes_again_on_another_node_is_what_nodes_share(error: str) -> None:
    cluster = Simulated()
    raises(cluster, 0, error, 1)
    assert cluster.causes() == ["rank-exception"]
    cluster.advances = True
    cluster.raises(0, error)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.all(StopJob)) == (["io-error"], [], [])
    cluster.settle()
    assert (cluster.stages(), cluster.going(), len(cluster.pages())) == (["resolved"], True, 1)


GIVEN = [
    ("OSError: [Errno 5] Input/output error: '/mnt/data/7'", "Storage", "storage: look at /mnt/data/7"),
    (
        "ValueError: no; because of OSError: [Errno 5] I/O error: '/mnt/7'",
        "Storage",
        "storage: look at /mnt/7",
    ),
    ("OSError: [Errno 28] No space left on device", "Storage", "storage: look at its volumes"),
    ("ConnectionResetError: [Errno 104] Connection reset by peer", "Network", "network: look at its peers"),
    (
        "ConnectionError: HTTPConnectionPool(host='data', port=80): Max retries exceeded",
        "Network",
        "network: look at data:80",
    ),
    ("ConnectTimeout: ('10.0.0.9', 443)", "Network", "network: look at 10.0.0.9:443"),
    ("HTTPError: 503 Server Error for url: https://data/7", "Network", "network: look at https://data/7"),
]


@pytest.mark.parametrize(("error", "what", "where"), GIVEN)
def test_the_first_one_already_says_what_gave_it_and_where_to_look(error: str, what: str, where: str) -> None:
    cluster = Simulated()
    node = cluster.node(0)
    raises(cluster, 0, error, 1)
    page = cluster.all(Page)[-1]
    assert page.title == f"{what} gave a rank's code an error: {node} gpu-0 (rank 0)"
    assert f"{where} from {node}" in page.body
    summed = row(cluster.incidents()[0], cluster.rules.runbooks[page.cause])
    assert page.title.startswith(summed.title)


@pytest.mark.parametrize("error", [*SETTINGS, *CODE])
def test_an_error_of_the_code_or_a_setting_is_not_said_to_be_given(error: str) -> None:
    cluster = Simulated()
    raises(cluster, 0, error, 1)
    assert cluster.all(Page)[-1].title.startswith("A rank's code raised an exception")
    assert "look at" not in cluster.all(Page)[-1].body


@pytest.mark.parametrize("error", SETTINGS)
def test_what_is_missing_on_another_node_too_is_a_setting(error: str) -> None:
    cluster = Simulated()
    raises(cluster, 0, error, 1)
    raises(cluster, 0, error, 5)
    assert (cluster.causes(), cluster.evicted(), len(cluster.all(StopJob))) == (["job-setting"], [], 1)


@pytest.mark.parametrize("error", CODE)
def test_any_other_error_that_follows_is_the_codes(error: str) -> None:
    cluster = Simulated()
    raises(cluster, 0, error, 1)
    raises(cluster, 0, error, 5)
    assert (cluster.causes(), cluster.evicted(), len(cluster.all(StopJob))) == (["code-error"], [], 1)


def test_storage_that_stays_out_is_tried_after_longer_and_longer_pauses_and_then_is_peoples() -> None:
    cluster = Simulated()
    formed = []
    for _ in range(cluster.rules.policy.resume_attempts):
        began = cluster.now
        generation = cluster.job.generation
        cluster.advances = False
        cluster.raises(0, OUTSIDE[0])
        while cluster.job.generation == generation and cluster.now < began + 60:
            cluster.run(0.25)
        formed.append(cluster.now - began)
    raises(cluster, 0, OUTSIDE[0])
    assert formed[2] > formed[1] + 4
    assert formed[3] > formed[2] + 4
    assert (cluster.causes(), cluster.evicted(), cluster.all(StopJob)) == (["io-error"], [], [])
    assert "4 attempts brought no new step" in cluster.all(Refusal)[-1].reason
    assert cluster.all(Page)[-1].severity == "critical"


def test_ranks_of_several_nodes_that_get_it_at_once_need_no_second_try() -> None:
    cluster = Simulated(nodes=4, world=3)
    cluster.advances = False
    for rank in range(3):
        cluster.raises(rank, OUTSIDE[1])
    cluster.run(1)
    assert (cluster.causes(), cluster.evicted()) == (["io-error"], [])


def test_another_rank_another_file_and_another_error_are_storage_all_the_same() -> None:
    cluster = Simulated(nodes=4, world=3)
    raises(cluster, 0, OUTSIDE[0], 1)
    other = next(rank for rank in (1, 2) if cluster.node(rank) not in ("n1",))
    raises(cluster, other, OUTSIDE[1].replace("0007", "0009"), 1)
    assert (cluster.causes(), cluster.evicted()) == (["io-error"], [])


def test_a_node_that_gets_it_twice_may_have_been_hit_by_chance() -> None:
    cluster = Simulated(nodes=3, world=3)
    bad = cluster.node(0)
    raises(cluster, 0, OUTSIDE[0], 1)
    other = next(rank for rank in range(3) if cluster.node(rank) == bad)
    cluster.advances = True
    cluster.raises(other, OUTSIDE[0])
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["rank-exception"], [])


def test_a_node_that_gets_it_again_and_again_alone_has_a_mount_of_its_own_that_fails() -> None:
    cluster = Simulated(nodes=3, world=3)
    bad = cluster.node(0)
    for _ in range(cluster.rules.policy.crashes_per_hour):
        rank = next(rank for rank in range(3) if cluster.node(rank) == bad)
        raises(cluster, rank, OUTSIDE[1], 1)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["node-suspect"], [bad])
