"""Where each question is answered."""

from sentinel.dashboards.board import TAG, board
from sentinel.dashboards.look import YES_IS_GOOD, Limits
from sentinel.dashboards.panels import number, prose
from sentinel.dashboards.promql import of, total, worst

ROWS = (
    ("Is it training, how fast, what was lost?", "Run", "run"),
    ("Which nodes and GPUs are not well, who is out of use, are there spares?", "Fleet", "fleet"),
    ("What is with this one node?", "Node", "node"),
    ("Which way between nodes is slow?", "Network", "network"),
    ("What broke, how fast was it repaired, what did it cost, who was woken?", "Incidents", "incidents"),
    ("Is the watcher itself well?", "Sentinel", "watcher"),
)
HELD_BACK = " + ".join(of(name) for name in ("actions_frozen", "actions_stopped", "observe_only"))
SAME = "${cluster:queryparam}&${datasource:queryparam}&${__url_time_range}"
TABLE = "\n".join(
    ["| If you want to know … | open |", "|---|---|"]
    + [f"| {question} | [{title}](/d/{TAG}-{name}?{SAME}) |" for question, title, name in ROWS]
    + [
        "| What is being done right now? | [the controller's status page](${pages}/) |",
        "| What happened, in words? | [the logbook](${pages}/logbook) |",
    ]
)

BOARD = board(
    "start",
    "Sentinel: start here",
    __doc__,
    number(
        "Training",
        "Whether every chosen job trains.",
        "none",
        f"min({of('job_running')})",
        words=YES_IS_GOOD,
        width=6,
    ),
    number(
        "Nodes to look at",
        "Nodes with a warning or worse.",
        "short",
        total(of("nodes", 'health=~"warning|critical"')),
        limits=Limits(notice=1),
        width=6,
    ),
    number(
        "Open incidents",
        "Those that are not resolved.",
        "short",
        total(of("open_incidents")),
        limits=Limits(notice=1),
        width=6,
    ),
    number(
        "Sentinel acts",
        "No: frozen, stopped, or it observes only.",
        "none",
        f"{worst(HELD_BACK)} == bool 0",
        words=YES_IS_GOOD,
        width=6,
    ),
    prose("If you want to know", "Where each question is answered.", TABLE, width=24, height=11),
)
