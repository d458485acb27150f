"""Where nodes sit is read from a file of patterns; what is wrong with it is said in one line."""

from pathlib import Path

import pytest

from sentinel.config import ConfigError
from sentinel.model.ids import NodeId
from sentinel.topology import Topology, read


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("n1", ["n1"], ["n10", "an1", "n1.", "N1"]),
        ("n*", ["n", "n1", "n-x"], ["an1"]),
        ("n?", ["n1"], ["n", "n10"]),
        ("n[1-8]", ["n1", "n8"], ["n9", "n0", "n01", "n-1", "n1x", "n"]),
        ("gpu-[008-012]", ["gpu-008", "gpu-012"], ["gpu-8", "gpu-12", "gpu-0012", "gpu-013"]),
        ("n[1,3,7-9]", ["n1", "n3", "n8"], ["n2", "n10"]),
        ("r[1-2]n[3-4].*", ["r1n3.", "r2n4.local"], ["r3n3.local", "r1n5.local", "r1n3"]),
        ("n[8-12]", ["n8", "n12"], ["n" + "1" * 180]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_a_pattern_matches_names(pattern: str, matching: list[str], others: list[str]) -> None:
    topology = Topology({pattern: {"rack": "r1"}})
    found = {name for name in [*matching, *others] if topology.labels(NodeId(name))}
    assert found == set(matching)


def test_all_patterns_count_and_the_later_one_wins() -> None:
    topology = Topology(
        {"*": {"image": "old", "feed": "A"}, "n[1-2]": {"rack": "r1"}, "n2": {"image": "new"}}
    )
    assert topology.labels(NodeId("n2")) == {"image": "new", "feed": "A", "rack": "r1"}
    assert topology.labels(NodeId("n3")) == {"image": "old", "feed": "A"}


def test_without_a_file_nothing_is_known() -> None:
    assert read(None).labels(NodeId("n1")) == {}


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text('"n[1-8]" = {rack = "r1"}\n["n[9-16]"]\nrack = "r2"\nfeed = "A"\n')
    assert read(file).labels(NodeId("n16")) == {"rack": "r2", "feed": "A"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"n[8-1]" = {rack = "r1"}', "'n[8-1]': '8-1' is no range of numbers, such as 001-008"),
        ('"n[]" = {rack = "r1"}', "'n[]': '' is no range"),
        ('"n[1-" = {rack = "r1"}', "'n[1-': is no pattern of node names"),
        ('"" = {rack = "r1"}', "'': is no pattern of node names"),
        ('"n 1" = {rack = "r1"}', "'n 1': is no pattern of node names"),
        ('"n1" = "r1"', "'n1': expected names by kind"),
        ('"n1" = {rack = 7}', "'n1': expected names by kind"),
        ('"n1" = {}', "'n1': expected 1 to 16 labels, got 0"),
        ('"n1" = {Rack = "r1"}', "'n1': 'Rack' is no kind of label"),
        ('"n1" = {rack = "row 1"}', "'n1': rack: 'row 1' is no name"),
        ('"n1" = {rack = "r1"', "is not TOML"),
        ('"n1" = {rack = "r1"}\n"n1" = {rack = "r2"}', "is not TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read(file)
    assert f"{file}: {said}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_is_none_is_said_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "topology.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"topology\.toml: (cannot be read|is not TOML)"):
        read(file)
