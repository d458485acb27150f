"""What a key file may be, and what a name."""

import os
from pathlib import Path

import pytest

from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.keys import KeyFileError, Keys, ensure_keys
from sentinel.model.codec import CodecError, decode, encode, to_plain
from sentinel.model.ids import NodeId, node_name
from sentinel.model.report import Hello, Join
from sentinel.runtime.agent.settings import parse
from tests.enrolled import keys_with

NODE = NodeId("n1")
BAD_NAMES = [
    "", ".", "..", "../etc", "a/b", "/", "a\0b", "a\nb", "n1\n", " n1", "n 1", "-n", ".n", "n\t", "x" * 201,
    "n\u202e1", "é", "<b>", "a;b", "*", "n1\\", "a|b", "$(id)",
]  # fmt: skip
GOOD_NAMES = ["n1", "node-7", "10.0.0.1", "gpu_4.rack-2.example.org", "fe80::1", "7", "x" * 200]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
@pytest.mark.parametrize(
    "name", ["controller.key", "snapshot.key", "api.token", "nodes/n1.key", "enrolled.json"]
)
def test_a_secret_that_others_could_read_is_refused_by_name(tmp_path: Path, name: str, mode: int) -> None:
    keys = keys_with(tmp_path, NODE)
    (tmp_path / name).chmod(mode)
    reads = {
        "controller.key": lambda: keys.controller_secret,
        "snapshot.key": lambda: keys.snapshot_secret,
        "api.token": lambda: keys.api_token,
        "nodes/n1.key": lambda: keys.of_node(NODE),
        "enrolled.json": lambda: Enrolment(keys),
    }
    with pytest.raises(KeyFileError, match=rf"{name}: others can read or change it \(mode {mode:04o}\)"):
        reads[name]()


def test_a_public_key_may_be_read_but_not_changed_by_others(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    (tmp_path / "controller.pub").chmod(0o644)
    assert keys.controller_public
    (tmp_path / "controller.pub").chmod(0o646)
    with pytest.raises(KeyFileError, match="others can change it"):
        str(keys.controller_public)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.root
def test_another_user_s_key_is_refused(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    os.chown(tmp_path / "snapshot.key", 12345, 12345)
    with pytest.raises(KeyFileError, match=r"another user's \(uid 12345\)"):
        str(keys.snapshot_secret)


def test_a_fifo_where_a_key_should_be_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "snapshot.key", 0o600)
    with pytest.raises(KeyFileError, match="no regular file"):
        str(Keys(tmp_path).snapshot_secret)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name_is_refused_wherever_it_comes_from(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="is no name for a node") as refused:
        node_name(name)
    assert "\n" not in str(refused.value)
    for noun in (Hello(NODE, "b", "127.0.0.1", 1, 1), Join(NODE, "x" * 40)):
        with pytest.raises(CodecError):
            decode(Hello | Join, encode({**to_plain(noun), "node": name}))
    with pytest.raises(SystemExit):
        parse(["--controller", "tcp://h:1", "--keys", str(tmp_path), f"--node={name}"])
    assert "is no name for a node" in capsys.readouterr().err


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_host_names_and_addresses_are_names(name: str) -> None:
    assert node_name(name) == name
    assert decode(Hello, encode(Hello(NodeId(name), "b", "127.0.0.1", 1, 1))).node == name
