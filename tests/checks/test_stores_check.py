import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.checks import _store_child, stores, volumes
from sentinel.checks._volume_pool import Answer, Pool, Volume
from sentinel.model.check import Machine, series
from sentinel.model.finding import Health
from sentinel.runtime.probe import NoGpus

fsspec = pytest.importorskip("fsspec")
PATIENT_S = 20.0
URL = "s3://bucket/prefix"
FINE = Answer(write_s=0.05, read_s=0.05)
FAILS = Answer(failed="ClientError: 503")
SLOW = Answer(write_s=stores.SLOW_S, read_s=0.1)


def found(*tried: Answer, **changed: object) -> list[tuple[str, Health]]:
    store = replace(Volume(URL, Answer(), tried), **changed)
    return [(each.code, each.health) for each in stores.judge([store])]


@pytest.mark.parametrize(
    ("tried", "codes"),
    [
        pytest.param([], [], id="not tried yet"),
        pytest.param([FINE], [], id="fine"),
        pytest.param([FAILS], [], id="failed once"),
        pytest.param([FAILS, FINE, FAILS], [], id="with a break"),
        pytest.param([FINE, FAILS, FAILS], [("store-failed", Health.CRITICAL)], id="failed twice"),
        pytest.param([SLOW, SLOW], [], id="slow twice"),
        pytest.param([SLOW, SLOW, SLOW], [("store-slow", Health.WARNING)], id="slow for long"),
        pytest.param(
            [Answer(refused="PermissionError: Access Denied")],
            [("store-unreadable", Health.UNKNOWN)],
            id="not ours to write to",
        ),
    ],
)
def test_what_came_of_trying_it(tried: list[Answer], codes: list[tuple[str, Health]]) -> None:
    assert found(*tried) == codes


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        pytest.param({"waits_s": stores.HUNG_S - 1}, [], id="late"),
        pytest.param({"waits_s": stores.HUNG_S}, [("store-failed", Health.CRITICAL)], id="hung"),
        pytest.param({"answer": None}, [("store-unreadable", Health.UNKNOWN)], id="not known yet"),
        pytest.param({"error": "it died"}, [("store-unreadable", Health.UNKNOWN)], id="child died"),
        pytest.param(
            {"answer": Answer(error="ValueError: no")}, [("store-unreadable", Health.UNKNOWN)], id="no store"
        ),
        pytest.param(
            {"answer": Answer(missing="Install s3fs to access S3")},
            [("not-applicable", Health.SKIPPED)],
            id="nothing to ask it with",
        ),
    ],
)
def test_a_store_that_does_not_answer(changed: dict[str, object], codes: list[tuple[str, Health]]) -> None:
    assert found(**changed) == codes


def test_passwords_in_a_url_are_not_shown() -> None:
    url = "s3://key:secret@host/bucket?token=secret"
    store = Volume(url, Answer(), (FAILS, FAILS))
    said = repr([*stores.judge([store]), stores.metrics([replace(store, tried=(FINE,))])])
    assert ("s3://host/bucket" in said, "secret" in said) == (True, False)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr("sentinel.checks._volume_pool.START_S", PATIENT_S)  # this machine may be busy
    monkeypatch.setattr("sentinel.checks._volume_pool.PATIENCE_S", PATIENT_S)
    pool = Pool(lambda _: "trial", command=stores.CHILD, every_s=stores.TRY_EVERY_S)
    yield pool
    pool.close()


def test_an_object_is_put_and_got_and_nothing_is_left(pool: Pool, tmp_path: Path) -> None:
    memory, folder = pool.look(["memory://bucket/a", f"file://{tmp_path}"], PATIENT_S)
    for store in (memory, folder):
        assert store.tried[0].write_s is not None
        assert store.tried[0].read_s is not None
    assert list(tmp_path.iterdir()) == []
    assert list(stores.judge([memory, folder])) == []
    assert stores.metrics([memory])[series("store_put_seconds", url="memory://bucket/a")] >= 0.0


def test_a_scheme_without_its_package_says_what_to_install(pool: Pool) -> None:
    schemes = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs"}
    missing = {}
    for scheme, package in schemes.items():
        try:
            fsspec.get_filesystem_class(scheme)
        except ImportError:
            missing[scheme] = package
    if not missing:
        pytest.skip("all packages are installed")
    for scheme, package in missing.items():
        (store,) = pool.look([f"{scheme}://bucket"], PATIENT_S)
        (finding,) = stores.judge([store])
        assert (finding.health, package in finding.summary) == (Health.SKIPPED, True)
        assert store.tried == ()


def test_a_scheme_that_nobody_knows_is_unknown(pool: Pool) -> None:
    (store,) = pool.look(["bogus://bucket"], PATIENT_S)
    assert [each.code for each in stores.judge([store])] == ["store-unreadable"]


class Store:
    """A store that says something else than it was told, or raises."""

    def __init__(self, raises: Exception | None = None, gives: bytes = b"") -> None:
        self.raises, self.gives, self.left = raises, gives, set[str]()

    def pipe_file(self, name: str, data: bytes) -> None:
        self.left.add(name)
        if self.raises:
            self.left.clear()
            raise self.raises

    def cat_file(self, name: str) -> bytes:
        return self.gives

    def rm_file(self, name: str) -> None:
        self.left.discard(name)


@pytest.mark.parametrize(
    ("store", "key"),
    [
        (Store(PermissionError("Access Denied")), "refused"),
        (Store(FileNotFoundError("The specified bucket does not exist")), "failed"),
        (Store(RuntimeError("several\nlines")), "failed"),
        (Store(gives=b"other"), "failed"),
    ],
)
def test_what_a_driver_raises_is_an_answer_of_one_line(store: Store, key: str) -> None:
    answer = _store_child.attempt(store, "bucket/trial")
    assert list(answer) == [key]
    assert "\n" not in str(answer[key])
    assert store.left == set()


def test_a_store_that_hangs_delays_nobody(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.look(["memory://a"], PATIENT_S)
    (child,) = pool._idle
    os.kill(child.process.pid, signal.SIGSTOP)
    monkeypatch.setattr("sentinel.checks._volume_pool.PATIENCE_S", 0.01)
    (stuck,) = pool.look(["memory://a"])
    assert stuck.waits_s > 0
    os.kill(child.process.pid, signal.SIGCONT)
    while stuck.waits_s:
        (stuck,) = pool.look(["memory://a"])
    assert stuck.answer is not None


def test_stores_and_volumes_are_told_apart(tmp_path: Path) -> None:
    machine = Machine("n", NoGpus(), None, (str(tmp_path), "memory://bucket"))
    try:
        assert [each.path for each in stores.measure(machine)] == ["memory://bucket"]
        assert [each.path for each in volumes.measure(machine)] == [str(tmp_path)]
    finally:
        for check in (stores, volumes):
            check._pool("n").close()
            check._pool.cache_clear()
    (finding,) = stores.judge(())
    assert finding.health is Health.SKIPPED
