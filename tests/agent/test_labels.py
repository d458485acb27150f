"""An agent says where its node sits, by its command line or its environment."""

import pytest

from sentinel.runtime.agent.settings import parse

ARGUMENTS = ["--controller", "tcp://127.0.0.1:1", "--keys", "/nowhere", "--node", "n1"]


def test_labels_are_taken_from_the_command_line_or_else_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert parse(ARGUMENTS).labels == {}
    monkeypatch.setenv("SENTINEL_LABELS", "rack=r12, feed=A,")
    assert parse(ARGUMENTS).labels == {"rack": "r12", "feed": "A"}
    assert parse([*ARGUMENTS, "--labels", "image=repo/x:1.2"]).labels == {"image": "repo/x:1.2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rack", "rack: '' is no name"),
        ("rack=", "rack: '' is no name"),
        ("=r1", "'' is no kind of label"),
        ("Rack=r1", "'Rack' is no kind of label"),
        ("rack=row 1", "'row 1' is no name"),
        ("rack=r1,rack=r2", "expected each kind once"),
        (",".join(f"k{number}=x" for number in range(17)), "16 at most"),
    ],
)
def test_a_wrong_label_ends_the_agent_with_one_line(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*ARGUMENTS, "--labels", text])
    assert (ended.value.code, said in capsys.readouterr().err) == (2, True)
