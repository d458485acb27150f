"""What decides stands in the policy and in the runbooks: the core has no number and no cause of its own."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from sentinel import core
from sentinel.core import strikes
from sentinel.core.learn import ranks
from sentinel.model.incident import UNKNOWN
from sentinel.model.policy import Policy, bounds
from sentinel.runbooks import load

CORE = Path(core.__file__).parent
CAUSES = frozenset(load())

OF_COUNTING = {-2, -1, 0, 1, 2}
"""None, one, a pair, a half, twice; the last but one."""

OF_NO_DECISION = {
    "commands.py": {
        "LONGEST_SILENCE_S = 30 * DAY_S": "what an operator may ask for",
        "MOST_NAMED = 5": "incidents that a refusal names",
    },
    "common.py": {"YEAR_DAYS = 365.0": "a unit"},
    "detect/gangs.py": {"MOST_JOBS = 64": "watched jobs kept"},
    "detect/looks.py": {"RANKS_NAMED = 8": "ranks that a fact names"},
    "detect/progress.py": {"LOSS_WINDOW = 64": "losses that the status page draws"},
    "diagnose/predicates/hangs.py": {"_s * 1000:": "milliseconds"},
    "diagnose/predicates/nodes.py": {"NAMED = 20": "nodes that a sentence names"},
    "evidence.py": {
        "RAISED_LIMIT = 32": "exceptions kept",
        "FOUND_LIMIT = 20": "findings of one kind kept",
        "EVIDENCE_LIMIT = 200": "facts kept",
        "STANDING_BY = 3": "events kept beside the evidence",
    },
    "exits.py": {"SHELL_OFFSET = 128": "what a shell adds to a signal's number"},
    "fold.py": {"ROUNDS = 1000": "more are a defect"},
    "group.py": {"LEFT_LIMIT = 100": "resolved incidents kept"},
    "learn/baselines.py": {
        "NODES_KEPT = 64": "nodes of a baseline",
        "BASELINES_KEPT = 256": "baselines kept",
        "COMPONENTS_KEPT = 16": "devices kept of a node",
    },
    "learn/findings.py": {
        "RECENT_FINDINGS = 10": "findings kept of a node",
        "RECENT_ALIKE = 3": "and of one kind",
        "EVENTS_KEPT = 256": "marks kept of a node's events",
    },
    "learn/judgements.py": {"MOST = 1000": "incidents whose judgements are kept"},
    "learn/ranks.py": {
        "RECENT_FAILURES = 20": "failures kept of a node",
        "FAILED_LIMIT = 100": "failures kept of a job",
    },
    "page/left.py": {"MOST_NAMES = 20": "nodes that a line names"},
    "page/words.py": {
        "RESUMES_TOLD = 3": "lines of a page",
        "TRACEBACK_LINES = 12": "text",
        "EARLIER_LIMIT = 200": "text",
        "THREAD_LIMIT = 2500": "text",
    },
    "record.py": {
        "ACTIONS_LIMIT = 200": "actions kept",
        "DIAGNOSES_LIMIT = 8": "diagnoses kept",
        "EARLIER_LIMIT = 20": "diagnoses of earlier breaks kept",
        '.split("/", 3)': "parts of an action's id",
    },
    "preflights.py": {"BITS = 8": "a unit"},
    "recovery.py": {"MOST_DOUBLINGS = 30": "more are no number, and beyond every limit"},
    "settle/generation.py": {"stopped_at * 1000": "milliseconds"},
    "waits.py": {"WAITS_LIMIT = 20": "waits kept"},
    "strikes.py": {"KEPT = 100": "strikes kept of a node", "CONTAINED = 94": "an Xid's number is its name"},
}
"""By file: what only bounds memory or text, is a unit, or names something of others."""

OF_NO_CAUSE = {"evidence.py": {str(UNKNOWN): "the owner that a finding can't name"}}
"""By file: words that happen to be a cause's name."""


def numbers_of(source: str) -> Iterator[tuple[str, int | float]]:
    """Give (its line, number) of all that may decide: what only counts, finds a place or rounds does not."""
    tree, lines = ast.parse(source), source.splitlines()
    harmless = {id(each) for node in ast.walk(tree) for each in _places_and_digits(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and id(node) not in harmless:
            assert isinstance(node.value, int | float)
            if node.value not in OF_COUNTING:
                yield lines[node.lineno - 1].strip(), node.value


def _places_and_digits(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper)):
            yield from (each for each in (lower, upper) if each is not None)
        case ast.Subscript(slice=ast.Constant() as index):
            yield index
        case ast.Call(func=ast.Name(id="round"), args=[_, digits]):
            yield digits


def causes_of(source: str) -> Iterator[tuple[int, str]]:
    """Give (line, cause) of all strings that name a cause, docstrings apart."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            for cause in CAUSES & {node.value, *node.value.replace(":", " ").split()}:
                if node.value == cause or "-" in cause:
                    yield node.lineno, cause


FILES = [pytest.param(path, id=str(path.relative_to(CORE))) for path in sorted(CORE.rglob("*.py"))]


@pytest.mark.parametrize("path", FILES)
def test_no_number_in_the_core_decides(path: Path) -> None:
    known = OF_NO_DECISION.get(str(path.relative_to(CORE)), {})
    found = (line for line, _ in numbers_of(path.read_text()))
    assert [line for line in found if not any(each in line for each in known)] == []


@pytest.mark.parametrize("path", FILES)
def test_the_core_names_no_cause(path: Path) -> None:
    known = OF_NO_CAUSE.get(str(path.relative_to(CORE)), {})
    assert [(line, cause) for line, cause in causes_of(path.read_text()) if cause not in known] == []


def test_what_is_listed_as_no_decision_is_there_still() -> None:
    for name, known in OF_NO_DECISION.items():
        lines = [line for line, _ in numbers_of((CORE / name).read_text())]
        assert [each for each in known if not any(each in line for line in lines)] == [], name
    for name, words in OF_NO_CAUSE.items():
        assert {cause for _, cause in causes_of((CORE / name).read_text())} == set(words), name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("LIMIT_S = 2.5", [2.5], id="a constant"),
        pytest.param("LIMIT_S: float = 60", [60], id="a constant with a type"),
        pytest.param("late = now - since > 3.5", [3.5], id="an expression"),
        pytest.param("def late(age: float, limit: float = 7.0) -> bool: ...", [7.0], id="a default"),
        pytest.param(
            "def late(policy: Policy) -> bool:\n    return age > policy.silent_s * 1.5", [1.5], id="a factor"
        ),
        pytest.param("sure = {'stopped': 0.97}", [0.97], id="in a table"),
        pytest.param("recent = deque(maxlen=32)", [32], id="an argument"),
        pytest.param("enough = -5 < count", [5], id="below zero"),
        pytest.param("halves = steps[count // 2 - 1 :] if True else 0.0", [], id="what counts"),
        pytest.param("told = name[:16], parts[3], round(age, 3)", [], id="places and digits"),
    ],
)
def test_a_number_that_decides_is_found(source: str, found: list[float]) -> None:
    assert [number for _, number in numbers_of(source)] == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param('is_lost = cause == "gpu-lost"', ["gpu-lost"], id="compared"),
        pytest.param('topic = f"gpu-lost:{node}"', ["gpu-lost"], id="in a topic"),
        pytest.param('why = "a gpu-lost beside it"', ["gpu-lost"], id="in a sentence"),
        pytest.param('match cause:\n    case "straggler": ...', ["straggler"], id="in a match"),
        pytest.param('"""As gpu-lost does."""', [], id="in a docstring"),
        pytest.param('why = "it is a straggler"', [], id="a word of the language"),
    ],
)
def test_a_cause_is_found(source: str, found: list[str]) -> None:
    assert [cause for _, cause in causes_of(source)] == found


@pytest.mark.parametrize("name", [each.name for each in fields(Policy)])
def test_each_number_of_the_policy_decides_something(name: str) -> None:
    assert any(f"policy.{name}" in path.read_text() for path in CORE.rglob("*.py"))


def test_as_many_are_kept_as_a_policy_may_ask_to_count() -> None:
    """A limit that is above what is remembered would never be reached: that protection would be off."""
    assert bounds("crashes_per_hour")[1] <= ranks.RECENT_FAILURES
    assert bounds("app_xids_per_day")[1] <= strikes.KEPT
    assert bounds("several")[1] <= strikes.KEPT
