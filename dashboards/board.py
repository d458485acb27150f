"""The frame of each dashboard: the variables at its top, its links, and what happened as annotations."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from sentinel.dashboards.look import BAD, NOTICE
from sentinel.dashboards.panels import DATASOURCE, Panel, link
from sentinel.dashboards.promql import PREFIX, increase, total

Variable: TypeAlias = builder.DatasourceVariable | builder.QueryVariable
TAG = "sentinel"
PAGES = "${pages}"
"""Address of the controller's own pages, as it tells."""
RUNBOOK = {"Runbook": f"{PAGES}/runbook/${{__field.labels.cause}}"}
ENTRY = {
    "Logbook entry": f"{PAGES}/logbook/${{__data.fields.Incident}}",
    "Runbook": f"{PAGES}/runbook/${{__data.fields.Cause}}",
}
NODE_BOARD = {
    "This node": f"/d/{TAG}-node?${{__url_time_range}}&${{cluster:queryparam}}&${{datasource:queryparam}}"
    "&var-node=${__field.labels.node}"
}
ALL = ".+"
GRAFANA = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")
"""Grafana itself, as its own annotations have it for their source."""
MOST_PUSHED = 200


def row(title: str) -> builder.Row:
    """Begin a group of panels."""
    return builder.Row(title)


def board(
    name: str, title: str, about: str, *content: Panel | builder.Row, choose: Sequence[Variable] = ()
) -> builder.Dashboard:
    """Make a dashboard; `choose` are its variables besides those that all have."""
    made = builder.Dashboard(title).uid(f"{TAG}-{name}").description(about).tags([TAG]).readonly()
    made.time("now-6h", "now").refresh("30s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for variable in (*_variables(), *choose):
        made.with_variable(variable)
    for annotation in _annotations():
        made.annotation(annotation)
    for each in _links():
        made.link(each)
    for part in content:
        made.with_row(part) if isinstance(part, builder.Row) else made.with_panel(part)
    return made


def runs() -> Variable:
    """Give the variable `run`: one, several or all training jobs."""
    return _several("run", "Training job", _values("job_running", "job_name"))


def one_node() -> Variable:
    """Give the variable `node`: one, for the GPUs of all are too many lines."""
    return _query("node", "Node", _values("agent_connected", "node"))


def _values(metric: str, label: str) -> str:
    return f'label_values({PREFIX}{metric}{{cluster="$cluster"}}, {label})'


def _variables() -> Sequence[Variable]:
    started = f"{PREFIX}controller_start_time_seconds"
    targets = f'{{__name__=~"{started}|{PREFIX}agent_connected", cluster="$cluster"}}'
    cluster = _query("cluster", "Cluster", f"label_values({started}, cluster)")
    pages = _query("pages", "Controller", _values("controller_info", "url"))
    return (
        builder.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        cluster,
        _several("job", "Job", f"label_values({targets}, job)"),
        _several("instance", "Instance", f"label_values({targets}, instance)"),
        pages.hide(model.VariableHide.HIDE_VARIABLE),
    )


def _query(name: str, label: str, query: str) -> builder.QueryVariable:
    variable = builder.QueryVariable(name).label(label).datasource(DATASOURCE).query(query).definition(query)
    return variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.NATURAL_ASC)


def _several(name: str, label: str, query: str) -> builder.QueryVariable:
    """Give one of which all or some may be chosen; a new one belongs to all."""
    all_of_them = model.VariableOption(selected=True, text="All", value="$__all")
    return _query(name, label, query).multi(True).include_all(True).all_value(ALL).current(all_of_them)


def _annotations() -> Sequence[builder.AnnotationQuery]:
    opened = total(increase("incidents_diagnosed_total"), "cause")
    evicted = total(increase("evictions_total"), "cluster")
    return (
        _annotation("Incidents", NOTICE, f"{opened} > 0", "{{cause}}"),
        _annotation("Evictions", BAD, f"{evicted} > 0", "a node was evicted"),
        _pushed("Incidents, begin to end", NOTICE, "incident"),
        _pushed("Evictions, begin to end", BAD, "eviction"),
    )


def _annotation(name: str, colour: str, query: str, text: str) -> builder.AnnotationQuery:
    annotation = builder.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour)
    target = prometheus.Dataquery().expr(query).ref_id("Anno")
    return annotation.expr(query).target(target).title_format(name).text_format(text).step("60s")


def _pushed(name: str, colour: str, kind: str) -> builder.AnnotationQuery:
    """Give those that the controller has written into Grafana itself; none, where it has no token."""
    annotation = builder.AnnotationQuery().name(name).datasource(GRAFANA).enable(True).icon_color(colour)
    tags = [TAG, kind, "cluster:$cluster"]
    target: Any = builder.AnnotationTarget().type("tags").limit(MOST_PUSHED).match_any(False).tags(tags)
    return annotation.target(target)


def _links() -> Sequence[builder.DashboardLink]:
    others = builder.DashboardLink("Sentinel").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return (
        others.as_dropdown(True).include_vars(True).keep_time(True),
        link("Status page", f"{PAGES}/"),
        link("Logbook", f"{PAGES}/logbook"),
    )
