"""The dashboards keep the rules, and each rule sees what breaks it."""

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinel.cli import app
from sentinel.dashboards import build, lint, push, series

METRICS = Path(__file__).parents[2] / "docs/metrics.md"
Board = dict[str, Any]
BOARDS = {board["title"]: board for board in build.committed()}


def panel(board: Board, title: str) -> Any:
    [found] = [each for each in lint.panels(board) if each["title"] == title]
    return found


def variable(board: Board, name: str) -> Any:
    [found] = [each for each in board["templating"]["list"] if each["name"] == name]
    return found


def ask(board: Board, expression: str) -> None:
    panel(board, "Step")["targets"][0]["expr"] = expression


MATCHED = 'job=~"$job", instance=~"$instance"'
BREAKS: dict[str, list[Callable[[Board], Any]]] = {
    "template-datasource-rule": [
        lambda board: variable(board, "datasource").update(name="prom"),
        lambda board: variable(board, "datasource").update(label="Prom"),
        lambda board: variable(board, "datasource").update(query="loki"),
    ],
    "template-job-rule": [
        lambda board: board["templating"]["list"].remove(variable(board, "job")),
        lambda board: variable(board, "job").update(multi=False),
        lambda board: variable(board, "job").update(allValue=".*"),
    ],
    "template-instance-rule": [
        lambda board: variable(board, "instance").update(label="Target"),
        lambda board: variable(board, "instance").update(datasource={"type": "prometheus", "uid": "abc"}),
    ],
    "template-label-promql-rule": [
        lambda board: variable(board, "run").update(query="label_values(up{job=}, job)"),
        lambda board: variable(board, "run").update(query="metrics(.+)"),
    ],
    "template-on-time-change-reload-rule": [lambda board: variable(board, "run").update(refresh=1)],
    "uneditable-dashboard": [lambda board: board.update(editable=True), lambda board: board.pop("editable")],
    "panel-datasource-rule": [
        lambda board: panel(board, "Step").update(datasource={"type": "prometheus", "uid": "abc"}),
        lambda board: panel(board, "Step")["targets"][0].pop("datasource"),
    ],
    "panel-title-description-rule": [
        lambda board: panel(board, "Step").update(description=""),
        lambda board: panel(board, "Step").update(title=""),
    ],
    "panel-units-rule": [
        lambda board: panel(board, "Step")["fieldConfig"]["defaults"].pop("unit"),
        lambda board: panel(board, "Step")["fieldConfig"]["defaults"].update(unit="seconds"),
    ],
    "panel-no-targets-rule": [lambda board: panel(board, "Step").update(targets=[])],
    "target-promql-rule": [lambda board: ask(board, "sum by (node (up)"), lambda board: ask(board, "")],
    "target-rate-interval-rule": [lambda board: ask(board, f"rate(x_total{{{MATCHED}}}[5m])")],
    "target-job-rule": [
        lambda board: ask(board, 'x{instance=~"$instance"}'),
        lambda board: ask(board, f'x{{{MATCHED}}} / on (node) y{{instance=~"$instance"}}'),
    ],
    "target-instance-rule": [lambda board: ask(board, 'sum(max_over_time(x{job=~"$job"}[1h]))')],
    "target-counter-agg-rule": [
        lambda board: ask(board, f"sum(x_total{{{MATCHED}}})"),
        lambda board: ask(board, f"delta(x_total{{{MATCHED}}}[$__rate_interval])"),
    ],
    "element-reference-rule": [
        lambda board: ask(board, f'x{{{MATCHED}, zone="$zone"}}'),
        lambda board: board["links"][1].update(url="${page}/logbook"),
    ],
    "panel-repeats": [lambda board: ask(board, panel(board, "Training")["targets"][0]["expr"])],
}


def broken() -> Iterator[Any]:
    for rule, breaks in BREAKS.items():
        for number, one in enumerate(breaks, 1):
            yield pytest.param(rule, one, id=f"{rule} {number}")


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_all_rules_are_kept(board: Board) -> None:
    assert [str(each) for each in lint.complaints(board)] == []


@pytest.mark.parametrize(("rule", "breaks"), list(broken()))
def test_a_rule_sees_what_breaks_it(rule: str, breaks: Callable[[Board], Any]) -> None:
    board = copy.deepcopy(BOARDS["Run"])
    breaks(board)
    assert rule in {each.rule for each in lint.complaints(board)}


def test_every_rule_is_broken_here_once() -> None:
    assert set(BREAKS) == set(lint.RULES)


def test_an_exclusion_that_excludes_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "EXCLUSIONS", {("panel-units-rule", "Run: Step"): "for a reason"})
    assert [str(each) for each in lint.complaints(BOARDS["Run"])] == [
        "Run: Step: is excluded, and keeps the rule (panel-units-rule)"
    ]


def test_every_exclusion_has_its_reason() -> None:
    reasons = [*lint.EXCLUSIONS.values(), *lint.OTHER_RANGES.values(), *series.UNUSED.values()]
    assert all(len(reason) > 10 for reason in reasons)


def test_files_are_what_is_built() -> None:
    assert build.stale() == [], "sentinel dashboards build"
    assert {path.stem for path in build.FILES.glob("*.json")} == set(build.NAMES)


def test_a_stale_file_is_told_and_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(build.write(build.files(), tmp_path)) == len(build.NAMES)
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.setattr(build, "FILES", tmp_path)
    assert build.stale() == ["run.json"]
    assert build.write(build.built(), tmp_path) == ["run.json"]
    assert build.write(build.built(), tmp_path) == []


@pytest.mark.parametrize("missing", ["grafana_foundation_sdk", "promql_parser"])
def test_files_are_had_without_what_builds_them(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as end:
        app(["dashboards", "build", "--to", str(tmp_path)])
    assert not end.value.code
    assert capsys.readouterr().out.count("written: ") == len(build.NAMES)
    assert (tmp_path / "run.json").read_text() == build.files()["run.json"]


def test_provisioning_puts_them_where_a_push_does() -> None:
    document = yaml.safe_load((build.FILES.parent / "provisioning/dashboards.yaml").read_text())
    [provider] = document["providers"]
    assert (provider["folderUid"], provider["type"]) == (push.FOLDER, "file")


def test_every_metric_is_used_or_it_says_why_not() -> None:
    found = series.complaints(METRICS.read_text(), BOARDS.values())
    assert [str(each) for each in found] == []


@pytest.mark.parametrize(
    ("table", "says"),
    [
        pytest.param(
            "| `sentinel_brand_new` | gauge |", "sentinel_brand_new: no panel and no rule", id="new"
        ),
        pytest.param("", "sentinel_job_running: is used, and no metric has this name", id="gone"),
        pytest.param("", "sentinel_host_load1: is listed as unused, and", id="listed, and gone"),
    ],
)
def test_what_is_not_as_documented_is_told(table: str, says: str) -> None:
    found = [str(each) for each in series.complaints(table, BOARDS.values())]
    assert any(says in each for each in found)


def test_rules_use_metrics_too(tmp_path: Path) -> None:
    rule = {"alert": "Down", "expr": "rate(sentinel_brand_new_total[5m]) > 0 and on () job:x:y"}
    (tmp_path / "alerts.yml").write_text(str({"groups": [{"name": "x", "rules": [rule]}]}))
    table = METRICS.read_text() + "\n| `sentinel_brand_new_total` | counter |\n"
    assert list(series.complaints(table, BOARDS.values(), tmp_path)) == []


def test_check_says_all_is_well_or_what_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as end:
        app(["dashboards", "check", "--metrics", str(METRICS)])
    assert not end.value.code
    assert capsys.readouterr().out == f"{len(build.NAMES)} dashboards keep all rules\n"
    monkeypatch.setitem(
        lint.RULES, "no-run", lambda board: [("", "is wrong")] if board["title"] == "Run" else []
    )
    with pytest.raises(SystemExit) as end:
        app(["dashboards", "check"])
    assert end.value.code == 1
    assert capsys.readouterr().out == "Run: is wrong (no-run)\n"
