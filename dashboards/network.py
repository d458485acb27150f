"""Which way between nodes is slow, and since when."""

from sentinel.dashboards.board import NODE_BOARD, board, row
from sentinel.dashboards.limits import LINK_BAD, LINK_NOTICE
from sentinel.dashboards.look import BAD, GOOD, Limits, Words
from sentinel.dashboards.panels import bars, lines, listing, matrix, number
from sentinel.dashboards.promql import increase, mirrored, of, over_range, rate, total, worst

PAIRS = of("link_bandwidth_bytes_per_second")
MEASURED = of("links_measured_time_seconds", 'check="pair"')
OF_NODE = of("node_link_bandwidth_bytes_per_second", 'stat="median"')
TYPICAL = f"quantile(0.5, {OF_NODE})"
"""Of a large cluster only the slowest pairs are told, and the median of each node."""
PORT_ERRORS = total(over_range("port_errors_total"), "node", "port", "counter")
NIC_ERRORS = total(over_range("nic_errors_total"), "node", "nic", "counter")
SHARE = Limits(notice=LINK_NOTICE, bad=LINK_BAD, low=True)
DOWN: Words = {0: ("down", BAD), 1: ("up", GOOD)}

BOARD = board(
    "network",
    "Network",
    __doc__,
    number(
        "Slowest pair",
        "Bandwidth of the slowest pair of nodes, as a share of the median pair's.",
        "percentunit",
        f"min({PAIRS}) / {TYPICAL}",
        limits=SHARE,
        width=5,
        none="not measured yet",
    ),
    number("Median pair", "Bandwidth between two nodes.", "Bps", TYPICAL, width=5, none="not measured yet"),
    number(
        "Last all-reduce",
        "Bandwidth of all members together, of the slowest group.",
        "Bps",
        f"min({of('all_reduce_bandwidth_bytes_per_second')})",
        width=5,
        none="not measured yet",
    ),
    number(
        "Measured",
        "How long ago pairs were measured last: `sentinel probe pair`, or Sentinel's own asking.",
        "s",
        f"time() - max({MEASURED} > 0)",
        width=5,
        none="never",
    ),
    number(
        "Ports down",
        "Network ports without a link.",
        "short",
        f"sum({of('port_active')} == bool 0) + sum({of('nic_carrier')} == bool 0) or "
        f"sum({of('nic_carrier')} == bool 0) or sum({of('port_active')} == bool 0)",
        limits=Limits(notice=1),
        width=4,
    ),
    row("Pairs"),
    matrix(
        "Bandwidth, pair by pair",
        "As a share of the median pair's; a row and column that are not green are a node, a single "
        "such field is a way. Of more than 32 nodes only the 200 slowest pairs are known.",
        "percentunit",
        f"{mirrored(PAIRS, 'node', 'peer')} / scalar({TYPICAL})",
        ("node", "peer"),
        limits=SHARE,
        width=14,
        height=12,
        none="not measured yet",
    ),
    bars(
        "Suspects",
        "The nodes whose median pair is slowest, as a share of the median pair's.",
        "percentunit",
        {"{{node}}": f"bottomk(10, max by (node) ({OF_NODE}) / scalar({TYPICAL}))"},
        limits=SHARE,
        width=10,
        height=12,
        links=NODE_BOARD,
        none="not measured yet",
    ),
    lines(
        "All-reduce",
        "Bandwidth of the last one that each node took part in.",
        "Bps",
        {
            "fastest": worst(of("all_reduce_bandwidth_bytes_per_second")),
            "slowest": f"min({of('all_reduce_bandwidth_bytes_per_second')})",
        },
    ),
    lines(
        "Latency of pairs",
        "The quickest, the median and the slowest.",
        "s",
        {
            "quickest": f"min({of('link_latency_seconds')})",
            "median": f"quantile(0.5, {of('link_latency_seconds')})",
            "slowest": worst(of("link_latency_seconds")),
        },
    ),
    row("Ports and NVLinks"),
    bars(
        "Errors of ports",
        "What InfiniBand and Ethernet ports counted in the time shown.",
        "short",
        {
            "{{node}} {{port}}{{nic}} {{counter}}": f"topk(10, {PORT_ERRORS} > 0 or {NIC_ERRORS} > 0)",
        },
        links=NODE_BOARD,
        none="none",
    ),
    lines(
        "Rate of ports",
        "The slowest and the fastest active port of InfiniBand or RoCE.",
        "Bps",
        {
            "fastest": worst(of("port_rate_bytes_per_second")),
            "slowest": f"min({of('port_rate_bytes_per_second')} > 0)",
        },
    ),
    lines(
        "NVLinks trained again",
        "How often, by node.",
        "short",
        {"{{node}}": f"{total(increase('gpu_nvlink_recoveries_total'), 'node')} > 0"},
    ),
    lines(
        "NVLink packets sent again",
        "By node, a second.",
        "pps",
        {"{{node}}": f"{total(rate('gpu_nvlink_replays_total'), 'node')} > 0"},
    ),
    listing(
        "Ports that are down",
        "Each of them.",
        "none",
        f"{of('port_active')} == 0 or {of('nic_carrier')} == 0",
        {"node": "Node", "port": "Port", "nic": "NIC", "Value": "Is"},
        words=DOWN,
        none="none",
    ),
)
