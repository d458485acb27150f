"""The rules of Grafana's dashboard-linter, under its names, and some of our own.

https://github.com/grafana/dashboard-linter/tree/main/docs/rules says what each is for.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from grafana_foundation_sdk.models import units

from sentinel.dashboards.build import Document
from sentinel.dashboards.expression import GROWTH, Selector, selectors

UNITS = frozenset(value for name, value in vars(units).items() if isinstance(value, str) and name[0] != "_")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RELOADS = 2
"""Variables are read again when the time shown changes."""
WITHOUT_QUERIES = ("row", "text")
OTHER_RANGES: Mapping[str, str] = {
    "$__range": "a total of the whole time that is shown",
    "1d": "pages and evictions a day, whatever is shown",
}
"""Exclusions from `target-rate-interval-rule`, each with its reason."""
EXCLUSIONS: Mapping[tuple[str, str], str] = {
    (
        "target-counter-agg-rule",
        "Node: Uncorrectable over life",
    ): "what a GPU counts over its life is read as it is",
}
"""Further ones, by rule and place."""
_VARIABLE = re.compile(r"\$\{?([a-zA-Z_]\w*)")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One rule that is broken."""

    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} ({self.rule})"


Told: TypeAlias = Iterator[tuple[str, str]]
"""Where, and what is wrong."""


def complaints(board: Document) -> list[Complaint]:
    """Judge a dashboard by all rules, and say which exclusions exclude nothing."""
    found = [
        Complaint(rule, f"{board['title']}{where and ': ' + where}", text)
        for rule, judge in RULES.items()
        for where, text in judge(board)
    ]
    broken = {(each.rule, each.where) for each in found}
    idle = [key for key in EXCLUSIONS if key[1].startswith(f"{board['title']}: ") and key not in broken]
    return [
        *(each for each in found if (each.rule, each.where) not in EXCLUSIONS),
        *(Complaint(rule, where, "is excluded, and keeps the rule") for rule, where in idle),
    ]


def panels(board: Document) -> Iterator[Document]:
    """Give the panels that show something."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def queries(board: Document) -> Iterator[tuple[str, str]]:
    """Give each panel's title with each of its expressions; those of annotations, too."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:  # not those that Grafana holds itself
            yield f"annotation {annotation['name']}", annotation["expr"]


def _variables(board: Document) -> Mapping[str, Any]:
    return {each["name"]: each for each in board["templating"]["list"]}


def _selectors(board: Document) -> Iterator[tuple[str, Selector]]:
    for where, expression in queries(board):
        try:
            yield from ((where, each) for each in selectors(expression))
        except ValueError:
            continue  # another rule's


def _template_datasource(board: Document) -> Told:
    variable = _variables(board).get("datasource", {})
    wanted = {"type": "datasource", "query": "prometheus", "label": "Data source"}
    if {key: variable.get(key) for key in wanted} != wanted:
        yield "", "has no variable `datasource` of Prometheus, labelled 'Data source'"


def _template(name: str) -> Callable[[Document], Told]:
    wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+", "datasource": SOURCE}

    def judge(board: Document) -> Told:
        variable = _variables(board).get(name, {})
        for key, value in wanted.items():
            if variable.get(key) != value:
                yield "", f"variable `{name}` has {key} {variable.get(key)!r}, not {value!r}"

    return judge


def _template_promql(board: Document) -> Told:
    for name, variable in _variables(board).items():
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.+), ?\w+\)", variable["query"])
        try:
            selectors(found[1] if found else "")
        except ValueError as error:
            yield "", f"variable `{name}`: {variable['query']}: {error}"


def _template_reload(board: Document) -> Told:
    for name, variable in _variables(board).items():
        if variable["type"] == "query" and variable.get("refresh") != RELOADS:
            yield "", f"variable `{name}` is not read again when the time changes"


def _uneditable(board: Document) -> Told:
    if board.get("editable") is not False:
        yield "", "can be edited, and the next push would overwrite that"


def _panel_datasource(board: Document) -> Told:
    for panel in panels(board):
        for each in (panel, *panel.get("targets", ())):
            if each.get("datasource") != SOURCE:
                yield panel["title"], f"takes its data from {each.get('datasource')}, not from the variable"


def _panel_words(board: Document) -> Told:
    for number, panel in enumerate(panels(board), 1):
        if not panel.get("title") or not panel.get("description"):
            yield panel.get("title") or f"panel {number}", "has no title or no description"


def _panel_units(board: Document) -> Told:
    for panel in panels(board):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if panel["type"] not in WITHOUT_QUERIES and unit not in UNITS:
            yield panel["title"], f"has no unit that Grafana knows: {unit!r}"


def _panel_targets(board: Document) -> Told:
    for panel in panels(board):
        if panel["type"] not in WITHOUT_QUERIES and not panel.get("targets"):
            yield panel["title"], "asks for nothing"


def _target_promql(board: Document) -> Told:
    for where, expression in queries(board):
        try:
            selectors(expression)
        except ValueError as error:
            yield where, f"{expression}: {error}"


def _target_rate_interval(board: Document) -> Told:
    for where, each in _selectors(board):
        if each.function in GROWTH and each.range not in ("$__rate_interval", *OTHER_RANGES):
            yield where, f"{each.function} of {each.name} over {each.range}, not $__rate_interval"


def _target_matcher(label: str) -> Callable[[Document], Told]:
    wanted = f'{label}=~"${label}"'

    def judge(board: Document) -> Told:
        for where, each in _selectors(board):
            if wanted not in each.matchers:
                yield where, f"{each.name} does not match {wanted}"

    return judge


def _target_counter(board: Document) -> Told:
    for where, each in _selectors(board):
        if each.name.endswith(("_total", "_bucket", "_count", "_sum")) and each.function not in GROWTH:
            yield where, f"counter {each.name} goes through none of {', '.join(GROWTH)}"


def _references(board: Document) -> Told:
    known = {*_variables(board)}
    for where, text in (*queries(board), *_addresses(board)):
        for name in _VARIABLE.findall(text):
            if name not in known and not name.startswith("__"):
                yield where, f"names a variable that there is not: ${name}"


def _addresses(board: Document) -> Iterator[tuple[str, str]]:
    for each in board.get("links", ()):
        yield f"link {each['title']}", each.get("url") or ""
    for panel in panels(board):
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", ()):
            yield panel["title"], link.get("url") or ""
        yield panel["title"], str(panel.get("options", {}).get("content", ""))


def _repeats(board: Document) -> Told:
    first: dict[frozenset[str], str] = {}
    for panel in panels(board):
        asked = frozenset(target["expr"] for target in panel.get("targets", ()))
        if asked and first.setdefault(asked, panel["title"]) != panel["title"]:
            yield panel["title"], f"shows what {first[asked]!r} shows"


RULES: Mapping[str, Callable[[Document], Told]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_promql,
    "template-on-time-change-reload-rule": _template_reload,
    "uneditable-dashboard": _uneditable,
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_words,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_targets,
    "target-promql-rule": _target_promql,
    "target-rate-interval-rule": _target_rate_interval,
    "target-job-rule": _target_matcher("job"),
    "target-instance-rule": _target_matcher("instance"),
    "target-counter-agg-rule": _target_counter,
    "element-reference-rule": _references,
    "panel-repeats": _repeats,
}
"""By the linter's names; the last is our own."""
