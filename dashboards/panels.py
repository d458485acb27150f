"""The panels that dashboards are made of: a number, tiles, lines, bars, a table, a matrix, words.

Each takes a title, a description, a unit of Grafana's, and its queries by their legends.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias, TypeVar, Unpack

from grafana_foundation_sdk.builders import bargauge, prometheus, stat, statushistory, table, text, timeseries
from grafana_foundation_sdk.builders import common as shape
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from sentinel.dashboards.look import HUES, PLAIN, QUIET, SERIES, Limits, Look, mapping
from sentinel.dashboards.promql import OVER_RANGE

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
Panel: TypeAlias = (
    stat.Panel | timeseries.Panel | bargauge.Panel | statushistory.Panel | table.Panel | text.Panel
)
Queries: TypeAlias = Mapping[str, str]
"""Queries by the legends of their series, which may name labels as `{{node}}`."""
LETTERS = "ABCDEFGH"
"""Name a panel's queries."""
P = TypeVar("P", stat.Panel, timeseries.Panel, bargauge.Panel, statushistory.Panel, table.Panel)


def number(title: str, description: str, unit: str, query: str, **look: Unpack[Look]) -> stat.Panel:
    """Give one number, large, with its course behind it; words stand in the place of its values.

    What is counted over the whole time shown has no course.
    """
    panel = _dressed(stat.Panel(), title, description, {"height": 4, "width": 4, **look})
    panel = _measured(panel, unit, [query])
    panel.reduce_options(_last()).text_mode(common.BigValueTextMode.VALUE)
    judged = "limits" in look or "words" in look
    panel.color_mode(common.BigValueColorMode.BACKGROUND if judged else common.BigValueColorMode.NONE)
    panel.graph_mode(common.BigValueGraphMode.NONE if "words" in look else common.BigValueGraphMode.AREA)
    asked = _query(query)
    return panel.with_target(asked.instant() if OVER_RANGE in query else asked.range())


def tiles(title: str, description: str, queries: Queries, **look: Unpack[Look]) -> stat.Panel:
    """Give a heat map of what is now: a named tile for each series, coloured by its value."""
    panel = _dressed(stat.Panel(), title, description, look).unit("none").reduce_options(_last())
    panel.color_mode(common.BigValueColorMode.BACKGROUND_SOLID).graph_mode(common.BigValueGraphMode.NONE)
    panel.text_mode(common.BigValueTextMode.NAME).justify_mode(common.BigValueJustifyMode.CENTER)
    return _now(panel, queries)


def history(title: str, description: str, queries: Queries, **look: Unpack[Look]) -> statushistory.Panel:
    """Give a heat map over time: a line for each series, coloured by its value."""
    panel = _dressed(statushistory.Panel(), title, description, look).unit("none").max_data_points(120)
    panel.show_value(common.VisibilityMode.NEVER).legend(_legend(shown=False))
    return _over_time(panel, queries)


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    stacked: bool = False,
    names: Collection[str] = (),
    bounds: Collection[str] = (),
    **look: Unpack[Look],
) -> timeseries.Panel:
    """Give lines over time, of each query in shades of one colour.

    Where it is known what series are called, `names` has each a colour, neighbours unlike ones: in shades
    of one nobody could tell apart what is stacked. Limits are dashed lines, and so are queries that give one,
    `bounds` by their legends.
    """
    panel = _dressed(timeseries.Panel(), title, description, look).line_width(1)
    panel = _measured(panel, unit, queries.values())
    panel.show_points(common.VisibilityMode.NEVER).axis_soft_min(0).legend(_legend(shown=len(queries) > 0))
    panel.tooltip(shape.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    panel.color_scheme(builder.FieldColor().mode(model.FieldColorModeId.SHADES).fixed_color(PLAIN))
    if stacked:
        panel.fill_opacity(40).stacking(shape.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if "limits" in look:
        dashed = common.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(shape.GraphThresholdsStyleConfig().mode(dashed))
    drawn = [letter for letter, legend in zip(LETTERS, queries, strict=False) if legend not in bounds]
    for letter in LETTERS[: len(queries)] if len(queries) > 1 else "":
        look_of = _line(SERIES[drawn.index(letter) % len(SERIES)]) if letter in drawn else _bound()
        panel.override_by_query(letter, look_of)
    for place, hue in enumerate(HUES[: len(names)]):
        alike = "|".join(list(names)[place :: len(HUES)])
        panel.override_by_regexp(f"/^({alike})(,.*)?$/", _fixed(hue))
    return _over_time(panel, queries)


def _line(colour: str) -> list[model.DynamicConfigValue]:
    shades = {"mode": model.FieldColorModeId.SHADES.value, "fixedColor": colour}
    return [model.DynamicConfigValue("color", shades)]


def _fixed(colour: str) -> list[model.DynamicConfigValue]:
    fixed = {"mode": model.FieldColorModeId.FIXED.value, "fixedColor": colour}
    return [model.DynamicConfigValue("color", fixed)]


def _bound() -> list[model.DynamicConfigValue]:
    dashes = {"fill": "dash", "dash": [8, 6]}
    return [*_fixed(QUIET), model.DynamicConfigValue("custom.lineStyle", dashes)]


def bars(title: str, description: str, unit: str, queries: Queries, **look: Unpack[Look]) -> bargauge.Panel:
    """Give a bar for each series."""
    panel = _dressed(bargauge.Panel(), title, description, look).min(0).reduce_options(_last())
    panel = _measured(panel, unit, queries.values())
    panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)
    if "limits" not in look:
        panel.color_scheme(builder.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(PLAIN))
    return _now(panel, queries)


def listing(
    title: str, description: str, unit: str, query: str, columns: Mapping[str, str], **look: Unpack[Look]
) -> table.Panel:
    """Give a table: of each series some labels and its `Value`, by the headings that they get."""
    panel = _dressed(table.Panel(), title, description, look).unit(unit)
    order = {name: n for n, name in enumerate(columns)}
    kept = {"include": {"names": list(columns)}}
    panel.with_transformation(model.DataTransformerConfig("filterFieldsByName", options=kept))
    named = {"indexByName": order, "renameByName": dict(columns)}
    panel.with_transformation(model.DataTransformerConfig("organize", options=named))
    if "limits" in look or "words" in look:
        panel.override_by_name(columns["Value"], [_coloured()])
    return panel.with_target(_query(query).instant().format(PromQueryFormat.TABLE))


def matrix(
    title: str, description: str, unit: str, query: str, pair: tuple[str, str], **look: Unpack[Look]
) -> table.Panel:
    """Give a square: a value for each pair of two labels, rows and columns, both in order of their names.

    A pair without a value, such as a node with itself, has no colour: as a low value it would be bad.
    """
    panel = _dressed(table.Panel(), title, description, look).unit(unit).mappings(_blank())
    chosen = {"rowField": pair[0], "columnField": pair[1], "valueField": "Value"}
    _sorted(panel, pair[1]).with_transformation(
        model.DataTransformerConfig("groupingToMatrix", options=chosen)
    )
    _sorted(panel, "\\".join(pair))
    panel.override_by_field_type("number", [_coloured()])
    return panel.with_target(_query(query).instant().format(PromQueryFormat.TABLE))


def _sorted(panel: table.Panel, field: str) -> table.Panel:
    by = {"fields": {}, "sort": [{"field": field}]}
    return panel.with_transformation(model.DataTransformerConfig("sortBy", options=by))


def _blank() -> list[model.ValueMapping]:
    """Show nothing where there is no value, whichever way Grafana says so."""
    nothing = model.ValueMappingResult(text="-", color="transparent")
    kinds = (model.SpecialValueMatch.EMPTY, model.SpecialValueMatch.NULL_AND_NAN)
    return [model.SpecialValueMap(model.DashboardSpecialValueMapOptions(kind, nothing)) for kind in kinds]


def prose(title: str, description: str, markdown: str, *, width: int = 24, height: int = 6) -> text.Panel:
    """Give words."""
    panel = text.Panel().title(title).description(description).span(width).height(height)
    return panel.datasource(DATASOURCE).mode(TextMode.MARKDOWN).content(markdown)


def link(title: str, url: str) -> builder.DashboardLink:
    """Give a link that opens beside the dashboard."""
    return builder.DashboardLink(title).url(url).target_blank(True)


def _dressed(panel: P, title: str, description: str, look: Look) -> P:
    panel.title(title).description(description).datasource(DATASOURCE)
    panel.span(look.get("width", 12)).height(look.get("height", 8)).no_value(look.get("none", "no data"))
    limits = look.get("limits", Limits())
    panel.thresholds(builder.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(limits.steps()))
    panel.color_scheme(builder.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    if "words" in look:
        panel.mappings([mapping(look["words"])])
    if "links" in look:
        panel.data_links([link(name, url) for name, url in look["links"].items()])
    return panel


def _measured(panel: P, unit: str, queries: Iterable[str]) -> P:
    """Give the unit; what is counted is whole, of which Prometheus' `increase` makes 1.02."""
    counts = unit == "short" and all("increase(" in query for query in queries)
    if unit == "h":
        return panel.unit(unit).decimals(2)
    return panel.unit(unit).decimals(0) if counts else panel.unit(unit)


def _over_time(panel: P, queries: Queries) -> P:
    for letter, (legend, expression) in zip(LETTERS, queries.items(), strict=False):
        panel.with_target(_query(expression, letter, legend).range())
    return panel


def _now(panel: P, queries: Queries) -> P:
    for letter, (legend, expression) in zip(LETTERS, queries.items(), strict=False):
        panel.with_target(_query(expression, letter, legend).instant())
    return panel


def _query(expression: str, letter: str = "A", legend: str = "") -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(letter).legend_format(legend).datasource(DATASOURCE)


def _last() -> shape.ReduceDataOptions:
    return shape.ReduceDataOptions().calcs(["lastNotNull"])


def _legend(*, shown: bool) -> shape.VizLegendOptions:
    legend = shape.VizLegendOptions().show_legend(shown).placement(common.LegendPlacement.BOTTOM)
    return legend.display_mode(common.LegendDisplayMode.LIST)


def _coloured() -> model.DynamicConfigValue:
    return model.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"})
