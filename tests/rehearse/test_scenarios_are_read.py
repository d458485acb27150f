"""A scenario file is checked before anything happens: what is wrong is said in one line, with its place."""

from pathlib import Path

import pytest

from sentinel.rehearse.reading import read
from sentinel.rehearse.scenario import ScenarioError
from sentinel.rehearse.steps import Crash, Kernel, Run

GOOD = """
id: one
cluster: {nodes: 2}
steps:
- kernel: [n1, first line, second line]
- crash: [1, signal 9]
- run: 10
expect: {causes: [rank-crash]}
"""


def _read(tmp_path: Path, text: str) -> list[object]:
    file = tmp_path / "case.yaml"
    file.write_text(text)
    return list(read(file))


def test_a_file_is_a_scenario(tmp_path: Path) -> None:
    (scenario,) = _read(tmp_path, GOOD)
    assert scenario.id == "one"
    assert scenario.steps == (Kernel("n1", ("first line", "second line")), Crash(1, "signal 9"), Run(10.0))
    assert scenario.expect.causes == ["rank-crash"]


def test_a_file_may_hold_several(tmp_path: Path) -> None:
    first, second = _read(tmp_path, "steps: []\n---\nsteps: []\nid: named\n")
    assert (first.id, second.id) == ("case-1", "named")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "holds no scenario", id="an empty file"),
        pytest.param(
            '{"recording": "I-1", "v": 3}\n{"se', "`sentinel replay ", id="a recording that was cut"
        ),
        pytest.param("[1, 2", "not YAML: while parsing", id="no yaml"),
        pytest.param("- 1", "Expected `object`, got `array`", id="a list"),
        pytest.param("steps: []\nnodes: 3", "unknown field `nodes`", id="an unknown key"),
        pytest.param(
            "steps: []\ncluster: {node: 3}", "unknown field `node` - at `$.cluster`", id="in the cluster"
        ),
        pytest.param("steps: []\ncluster: {nodes: 0}", "cluster.nodes: expected 1 to", id="no node"),
        pytest.param(
            "steps: []\ncluster: {topology: {'n[2-1]': {rack: r1}}}",
            "cluster.topology: 'n[2-1]': '2-1' is no range",
            id="no topology",
        ),
        pytest.param("steps: []\ncluster: {nodes: 1}", "2 ranks need more GPUs", id="too many ranks"),
        pytest.param(
            "steps: []\nexpect: {cause: [x]}", "unknown field `cause` - at `$.expect`", id="expectation"
        ),
        pytest.param(
            "steps: []\npolicy: {silent: 3}", "policy: unknown key 'silent'", id="an unknown number"
        ),
        pytest.param(
            "steps: []\npolicy: {silent_s: x}", "policy: Expected `float`, got `str`", id="no number"
        ),
        pytest.param(
            "steps: [{crsh: [0, exit 1]}]", "step 1: unknown step 'crsh'; known are kernel,", id="a typo"
        ),
        pytest.param(
            "steps: [{run: 1, hold: 1}]", "step 1: expected one key, got run, hold", id="two steps in one"
        ),
        pytest.param("steps: [{run: 1}, {crash: 0}]", "step 2, crash: ", id="a missing argument"),
        pytest.param("steps: [{crash: [0]}]", "it takes [rank, how]", id="what a step takes"),
        pytest.param("steps: [{crash: [0, exit 1, 2]}]", "step 1, crash: ", id="one argument too many"),
        pytest.param("steps: [{crash: [2, exit 1]}]", "no rank 2; the job has 2 (0 to 1)", id="a wrong rank"),
        pytest.param("steps: [{crash: [0, dead]}]", "'dead' is no end", id="a wrong end"),
        pytest.param("steps: [{kernel: [n5, x]}]", "no node 'n5'; known are n1 to n4", id="a wrong node"),
        pytest.param(
            "steps: [{kernel: [rank2, x]}]", "no rank 2; the job has 2", id="the node of a wrong rank"
        ),
        pytest.param("steps: [{silence: [n1, m2]}]", "no node 'm2'", id="one of several nodes"),
        pytest.param(
            "steps: [{gpu: [n1, 1, {}]}]", "index is 1; expected 0 to 0", id="a GPU that is not there"
        ),
        pytest.param(
            "steps: [{gpu: [n1, 0, {ecc: 1}]}]", "unknown key 'ecc'; allowed are", id="a wrong field"
        ),
        pytest.param(
            "steps: [{gpu: [n1, 0, {remap_failed: 3}]}]", "step 1, gpu: Expected", id="a field's type"
        ),
        pytest.param(
            "steps: [{beat: [0, {state: 3}]}]", "step 1, beat: Expected `str`", id="a record's field"
        ),
        pytest.param("steps: [{raise: [0, x, y]}]", "kind 'y' is none of user,", id="a wrong kind"),
        pytest.param("steps: [{run: .nan}]", "seconds is nan; expected 0 to", id="not a number"),
        pytest.param(
            "steps: []\ncluster: {watched: 2}",
            "Expected `bool`, got `int` - at `$.cluster.watched`",
            id="yes or no",
        ),
        pytest.param(
            "steps: []\ncluster: {restart_command: true}",
            "cluster.restart_command: it starts a watched job again; set watched, too",
            id="a command for a job of ours",
        ),
        pytest.param(
            "steps: [{starts: [n1]}]", "step 1, starts: Sentinel starts this job itself", id="a start of ours"
        ),
        pytest.param(
            "steps: [{starts: [n9]}]\ncluster: {watched: true}", "no node 'n9'", id="a start nowhere"
        ),
        pytest.param(
            "steps: [{standby_dies: n1}]\ncluster: {watched: true}",
            "step 1, standby_dies: a watched job has no standbys",
            id="a standby of theirs",
        ),
        pytest.param("steps: [{run: -1}]", "seconds is -1.0; expected 0 to", id="back in time"),
        pytest.param(
            "steps: [{storm: [n1, 95, 99999999]}]", "count is 99999999; expected 1 to", id="an endless storm"
        ),
        pytest.param("steps: [{command: [reboot]}]", "name 'reboot' is none of", id="a wrong command"),
        pytest.param("steps: [{finding: [n1, {check: x}]}]", "step 1, finding: ", id="half a finding"),
        pytest.param(
            "steps: [{fails: [eviction]}]",
            "kinds 'eviction' is none of page, cordon, evict,",
            id="an unknown action",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        _read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "case.yaml"))
    assert said in message
    assert "\n" not in message


def test_the_place_is_said_in_a_file_of_several(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="document 2: step 1: unknown step"):
        _read(tmp_path, "steps: []\n---\nsteps: [{nothing: 1}]\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="No such file"):
        list(read(tmp_path / "none.yaml"))


def test_a_deeply_nested_file_ends_nobody(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError):
        _read(tmp_path, "steps: " + "[" * 5000 + "]" * 5000)
