"""Whether every node and GPU is well, who is out of use, and why."""

from sentinel.dashboards.board import NODE_BOARD, board, row
from sentinel.dashboards.look import Limits
from sentinel.dashboards.panels import bars, history, lines, listing, number, tiles
from sentinel.dashboards.promql import of, total, worst
from sentinel.dashboards.words import HEALTH
from sentinel.model.policy import Policy

POLICY = Policy()
ALL_NODES = total(of("nodes"))
TROUBLES = total(of("findings", 'health=~"warning|critical"'), "check")
GPUS_SHOWN = 400


def _nodes(health: str) -> str:
    return total(of("nodes", f'health="{health}"'))


BOARD = board(
    "fleet",
    "Fleet",
    __doc__,
    number("Known", "Nodes that Sentinel knows.", "short", ALL_NODES, width=3),
    number(
        "Critical",
        "Nodes with a critical finding.",
        "short",
        _nodes("critical"),
        limits=Limits(bad=1),
        width=3,
    ),
    number("Warning", "Nodes with a warning.", "short", _nodes("warning"), limits=Limits(notice=1), width=3),
    number(
        "Unknown",
        "Nodes of which nobody can say.",
        "short",
        _nodes("unknown"),
        limits=Limits(notice=1),
        width=3,
    ),
    number(
        "Silent",
        f"Nodes without a report for {POLICY.silent_s} s (silent_s).",
        "short",
        total(of("nodes_silent")),
        limits=Limits(bad=1),
        width=3,
    ),
    number(
        "Cordoned",
        "Share of the nodes on which nothing is placed. Sentinel itself goes up to evict_share.",
        "percentunit",
        f"{total(of('nodes_cordoned'))} / {ALL_NODES}",
        limits=Limits(notice=0.0001, bad=POLICY.evict_share),
        width=3,
    ),
    number(
        "Spares",
        "Nodes that could take ranks now.",
        "short",
        total(of("nodes_spare")),
        limits=Limits(notice=1, low=True),
        width=3,
    ),
    number(
        "GPUs away",
        "GPUs that do not answer.",
        "short",
        f"sum({of('gpu_present')} == bool 0)",
        limits=Limits(bad=1),
        width=3,
    ),
    tiles(
        "Nodes",
        "Every node by the worst of its findings; a click leads to its own dashboard.",
        {"{{node}}": worst(of("node_health"), "node")},
        words=HEALTH,
        height=7,
        links=NODE_BOARD,
    ),
    tiles(
        "GPUs",
        f"GPUs by the worst of their findings, at most {GPUS_SHOWN}, the worst first.",
        {"{{node}} gpu {{gpu}}": f"topk({GPUS_SHOWN}, {worst(of('gpu_health'), 'node', 'gpu')})"},
        words=HEALTH,
        height=7,
        links=NODE_BOARD,
    ),
    row("Out of use"),
    listing(
        "Cordoned nodes",
        "Why nothing is placed there, and who said so.",
        "none",
        of("node_cordon_info"),
        {"node": "Node", "reason": "Why"},
        width=14,
        none="none",
    ),
    bars(
        "Longest without a report",
        "Seconds since the newest report; from silent_s on a node is silent.",
        "s",
        {"{{node}}": f"topk(10, {worst(of('node_report_age_seconds'), 'node')})"},
        limits=Limits(bad=POLICY.silent_s),
        width=10,
        links=NODE_BOARD,
    ),
    row("Over time"),
    history(
        "Nodes that were not well",
        "The worst finding of each node that had one, over time.",
        {"{{node}}": f"{worst(of('node_health'), 'node')} > 0"},
        words=HEALTH,
        width=12,
        links=NODE_BOARD,
    ),
    lines(
        "Findings that stand",
        "By the check that found them, warnings and worse.",
        "short",
        {"{{check}}": f"{TROUBLES} > 0"},
        stacked=True,
    ),
    row("Use, and what runs"),
    lines(
        "GPUs at work",
        "Share of time in which a kernel ran, mean of all GPUs and of those with a process.",
        "percentunit",
        {
            "all": f"avg({of('gpu_utilisation_ratio')})",
            "in use": f"avg({of('gpu_utilisation_ratio')} and on (node, gpu) ({of('gpu_processes')} > 0))",
        },
    ),
    listing(
        "Drivers and firmware",
        "How many GPUs have each combination: an odd one out is worth a look.",
        "short",
        f"count by (model, driver, vbios) ({of('gpu_info')})",
        {"model": "Model", "driver": "Driver", "vbios": "VBIOS", "Value": "GPUs"},
        width=7,
    ),
    listing(
        "What nodes usually measure",
        "Median of the fleet by kind of hardware, as `sentinel probe` and pre-flights measured.",
        "short",
        of("baseline", 'stat="median"'),
        {"check": "Check", "kind": "Kind", "quantity": "What", "Value": "Median"},
        width=24,
    ),
    listing(
        "Agents",
        "How many agents run each release.",
        "short",
        f"count by (version) ({of('agent_info')})",
        {"version": "Release", "Value": "Agents"},
        width=5,
    ),
)
