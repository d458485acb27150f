"""`sentinel enroll`: keys and tokens, on the head node."""

import stat
from pathlib import Path

import pytest
import zmq
from typer.testing import CliRunner

from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.join_token import parse
from sentinel.adapters.keys import Keys, ensure_keys, new_secret, write_key
from sentinel.cli import app
from sentinel.model.ids import NodeId
from sentinel.runtime.admit import admit
from sentinel.runtime.hands import ActionError
from tests.enrolled import keys_with

N1, N2 = NodeId("n1"), NodeId("n2")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def enroll(*words: str) -> str:
    """Run the command; gives what it prints."""
    ended = CliRunner().invoke(app, ["enroll", *words])
    assert ended.exit_code == 0, ended.output
    return ended.output


def refusal(*words: str) -> tuple[int, str]:
    """Run a command that fails; gives exit code and line."""
    ended = CliRunner().invoke(app, ["enroll", *words])
    [line] = ended.output.splitlines()
    return ended.exit_code, line


def test_nodes_get_keys_and_what_is_to_be_carried_to_them(state: Path, tmp_path: Path) -> None:
    output = enroll("n1", "n2", "--to", str(tmp_path / "carry"))
    assert "n1: carry" in output
    head, carried = Keys(state / "keys"), Keys(tmp_path / "carry" / "n1")
    nodes = Enrolment(head).nodes
    assert nodes.keys() == {N1, N2}
    assert nodes[N1] == (carried.of_node(N1).public.decode(),)
    assert carried.of_node(N1).controller == head.controller_public
    assert carried.snapshot_secret == head.snapshot_secret
    made = [path for path in (tmp_path / "carry").rglob("*") if path.is_file()]
    assert len(made) == 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}


def test_a_key_is_changed_and_revoked_and_given_again(state: Path) -> None:
    enroll("n1")
    first = Enrolment(Keys(state / "keys")).nodes[N1]
    enroll("--rotate", "n1")
    assert Enrolment(Keys(state / "keys")).nodes[N1][0] == first[0]
    assert len(Enrolment(Keys(state / "keys")).nodes[N1]) == 2
    enroll("--revoke", "n1")
    assert Enrolment(Keys(state / "keys")).nodes[N1] == ()
    assert "revoked" in enroll("--list")
    enroll("n1")
    assert Enrolment(Keys(state / "keys")).nodes[N1] != first


def test_a_token_is_one_line_and_ends_when_it_is_said(state: Path) -> None:
    line = enroll("--token", "--for", "30m", "--nodes", "gpu-*", "--uses", "2")
    shown = parse(line, "test")
    [(public, token)] = Enrolment(Keys(state / "keys")).tokens.items()
    assert (public, token.nodes, token.uses) == (shown.public.decode(), "gpu-*", 2)
    enroll("--end-tokens")
    assert not Enrolment(Keys(state / "keys")).tokens


def test_the_shared_key_of_an_earlier_release_joins_only_when_that_is_said(state: Path) -> None:
    keys, secret = ensure_keys(state / "keys"), new_secret()
    write_key(keys.shared, secret)
    public = zmq.curve_public(secret).decode()
    assert Enrolment(keys).owner(public) is None
    enroll("--accept-shared", "1h")
    enrolment = Enrolment(keys)
    assert enrolment.owner(public) == enrolment.tokens[public]


@pytest.mark.parametrize(
    "words",
    [[], ["--revoke"], ["n1", "--token"], ["--list", "--token"], ["n1", "--revoke", "--rotate"]],
)
def test_what_makes_no_sense_is_misuse(state: Path, words: list[str]) -> None:
    code, line = refusal(*words)
    assert code == 2
    assert "enroll takes nodes" in line


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["a/b"], "is no name for a node"),
        (["n1"], "enrolled already"),
        (["--revoke", "n9"], "is not enrolled"),
        (["--rotate", "n9"], "is not enrolled"),
        (["--accept-shared", "1h"], "agent.key: No such file"),
    ],
)
def test_what_can_not_be_done_is_said(state: Path, words: list[str], why: str) -> None:
    enroll("n1")
    code, line = refusal(*words)
    assert code == 1
    assert why in line


def test_a_node_of_this_machine_is_enrolled_by_itself_and_no_other(tmp_path: Path) -> None:
    enrolment = Enrolment(keys_with(tmp_path, "gone"))
    admit(enrolment, N1, "127.0.0.1")
    assert enrolment.keys.of_node(N1)
    with pytest.raises(ActionError, match="n2 has no key: `sentinel enroll n2`"):
        admit(enrolment, N2, "192.0.2.1")
    enrolment.issue(60.0, nodes="n*")
    admit(enrolment, N2, "192.0.2.1")  # it joins
    assert N2 not in enrolment.nodes
    enrolment.revoke(NodeId("gone"))
    with pytest.raises(ActionError, match="gone was revoked"):
        admit(enrolment, NodeId("gone"), "127.0.0.1")
