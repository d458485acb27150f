"""What is with a node: its GPUs, their memory, clocks and links, its host, and its incidents."""

from sentinel.checks import contention, gpu, gpu_links, gpu_memory, host, stores, volumes
from sentinel.dashboards.board import ENTRY, board, one_node, row
from sentinel.dashboards.look import BAD, GOOD, NOTICE, YES_IS_NOTED, Limits, Words
from sentinel.dashboards.panels import history, lines, listing, number
from sentinel.dashboards.promql import NODE, increase, of, over_range, rate, total, worst
from sentinel.dashboards.words import CHECKS, HEALTH
from sentinel.model.policy import Policy

POLICY = Policy()
GPU = "{{node}} gpu {{gpu}}"
FABRIC: Words = {
    0: ("none", GOOD),
    1: ("not started", NOTICE),
    2: ("in progress", NOTICE),
    3: ("completed", GOOD),
}
"""`NVML_GPU_FABRIC_STATE_*`."""
UP: Words = {0: ("down", BAD), 1: ("up", GOOD)}


def _of(name: str, *matchers: str) -> str:
    return of(name, NODE, *matchers)


def _gpus(name: str) -> dict[str, str]:
    return {GPU: _of(f"gpu_{name}")}


def _grown(name: str) -> str:
    return total(over_range(f"{name}_total", NODE), "node", "gpu")


TROUBLES = total(_of("findings", 'health!="ok"'), "check", "health")
BARE_BANKS = total(_of("gpu_remap_banks", 'spare="none"'), "node", "gpu")

BOARD = board(
    "node",
    "Node",
    __doc__,
    number(
        "Health",
        "The worst of its findings; of several chosen nodes, of the worst.",
        "none",
        worst(_of("node_health")),
        words=HEALTH,
        width=3,
    ),
    number(
        "Cordoned",
        "Whether nothing is placed there.",
        "none",
        worst(_of("node_cordoned")),
        words=YES_IS_NOTED,
        width=3,
    ),
    number(
        "Last report",
        "From silent_s on it is silent.",
        "s",
        worst(_of("node_report_age_seconds")),
        limits=Limits(bad=POLICY.silent_s),
        width=3,
    ),
    number("Ranks", "Ranks that sit there.", "short", total(_of("node_ranks")), width=3),
    number(
        "GPUs that answer",
        "Of all that it has.",
        "percentunit",
        f"avg({_of('gpu_present')})",
        limits=Limits(bad=1, low=True),
        width=3,
    ),
    number(
        "Memory errors",
        "Uncorrectable ones of its GPUs, in the time shown.",
        "short",
        total(over_range("gpu_ecc_uncorrectable_errors_total", NODE)),
        limits=Limits(bad=1),
        width=3,
    ),
    number(
        "Xids",
        "Lines of the driver in the kernel log, in the time shown.",
        "short",
        total(over_range("xid_events_total", NODE)),
        limits=Limits(notice=1),
        width=3,
        none="0",
    ),
    number(
        "Memory kills",
        "Processes that the kernel killed for memory, in the time shown.",
        "short",
        total(over_range("oom_kills_total", NODE)),
        limits=Limits(notice=1),
        width=3,
    ),
    row("What was found"),
    listing(
        "Open incidents",
        "Those whose first suspect it is.",
        "none",
        _of("incident_info"),
        {"incident": "Incident", "cause": "Cause", "severity": "Severity", "stage": "Stage"},
        links=ENTRY,
        none="none",
    ),
    history(
        "GPUs over time", "Each GPU by the worst of its findings.", _gpus("health"), words=HEALTH, width=12
    ),
    lines(
        "Findings that stand",
        "By check and health.",
        "short",
        {"{{check}}, {{health}}": f"{TROUBLES} > 0"},
        stacked=True,
        names=CHECKS,
    ),
    lines(
        "Xids by number",
        "Those of application errors repeat with a bug; others are the GPU's.",
        "short",
        {
            "Xid {{xid}} of gpu {{gpu}}": f"{total(increase('xid_events_total', NODE), 'xid', 'gpu')} > 0",
            "SXid, {{severity}}": f"{total(increase('sxid_events_total', NODE), 'severity')} > 0",
        },
    ),
    row("GPUs at work"),
    lines("Utilisation", "Share of time in which a kernel ran.", "percentunit", _gpus("utilisation_ratio")),
    lines("Memory in use", "Of each GPU.", "bytes", _gpus("memory_used_bytes")),
    lines(
        "Temperature",
        "Of the GPU and of its memory; dashed, where the check calls it hot.",
        "celsius",
        {GPU: _of("gpu_temperature_celsius"), f"{GPU} memory": _of("gpu_memory_temperature_celsius")},
        limits=Limits(bad=gpu.HOT_C),
    ),
    lines(
        "Power",
        "What each GPU takes, and its limit.",
        "watt",
        {
            GPU: _of("gpu_power_watts"),
            "limit": f"min by (node) ({_of('gpu_power_limit_watts')})",
            "limit that they come with": f"min by (node) ({_of('gpu_power_limit_default_watts')})",
        },
        bounds=("limit", "limit that they come with"),
    ),
    lines(
        "Clock",
        "Of the multiprocessors, and the highest they have.",
        "hertz",
        {GPU: _of("gpu_sm_clock_hertz"), "highest": f"max by (node) ({_of('gpu_sm_clock_max_hertz')})"},
        bounds=("highest",),
    ),
    lines(
        "Clocks held down",
        "Share of the time in which heat or the power limit held them down.",
        "percentunit",
        {
            f"heat, {GPU}": rate("gpu_thermal_violation_seconds_total", NODE),
            f"power, {GPU}": rate("gpu_power_violation_seconds_total", NODE),
        },
    ),
    row("Memory of the GPUs"),
    listing(
        "Uncorrectable over life",
        "Errors over each GPU's life, worst first.",
        "short",
        f"sort_desc({worst(_of('gpu_ecc_lifetime_uncorrectable_errors_total'), 'node', 'gpu')})",
        {"node": "Node", "gpu": "GPU", "Value": "Errors"},
        limits=Limits(notice=1),
        width=8,
    ),
    lines(
        "Corrected errors",
        "Of DRAM and SRAM, in each stretch of the graph.",
        "short",
        {
            f"DRAM, {GPU}": increase("gpu_dram_corrected_errors_total", NODE),
            f"SRAM, {GPU}": f"delta({_of('gpu_sram_corrected_errors')}[$__rate_interval])",
        },
        width=8,
    ),
    lines(
        "Rows remapped for uncorrectable errors",
        "A GPU at the dashed line has no spare ones.",
        "short",
        {GPU: _of("gpu_remapped_rows_uncorrectable")},
        limits=Limits(bad=gpu_memory.REMAPPED_ROWS),
        width=8,
    ),
    lines(
        "Errors that memory corrects no more",
        "Uncorrectable errors of SRAM and of all memory, in each stretch of the graph.",
        "short",
        {
            f"SRAM, {GPU}": increase("gpu_sram_lifetime_uncorrectable_errors_total", NODE),
            f"all, {GPU}": increase("gpu_ecc_uncorrectable_errors_total", NODE),
        },
        width=8,
    ),
    listing(
        "Memory banks without spare rows",
        "The next row that fails there can't be remapped.",
        "short",
        f"{BARE_BANKS} > 0",
        {"node": "Node", "gpu": "GPU", "Value": "Banks"},
        limits=Limits(notice=1),
        width=8,
        none="none",
    ),
    lines(
        "Retired pages",
        "Of GPUs before Ampere, of both kinds; at the dashed line the table is full.",
        "short",
        {GPU: f"{_of('gpu_retired_pages_single')} + {_of('gpu_retired_pages_double')}"},
        limits=Limits(bad=gpu_memory.RETIRED_PAGES),
        width=8,
    ),
    row("Links"),
    lines("NVLinks up", "Of each GPU.", "short", _gpus("nvlinks_active"), width=8),
    lines(
        "NVLink errors",
        "CRC errors a second; dashed, where the check calls a link bad.",
        "cps",
        {GPU: rate("gpu_nvlink_crc_errors_total", NODE)},
        limits=Limits(bad=gpu_links.CRC_PER_S),
        width=8,
    ),
    listing(
        "Fabric",
        "Registration of each GPU with the NVLink fabric.",
        "none",
        _of("gpu_fabric_state"),
        {"node": "Node", "gpu": "GPU", "Value": "State"},
        words=FABRIC,
        width=8,
        none="no fabric",
    ),
    lines("PCIe lanes", "That each GPU runs on now.", "short", _gpus("pcie_width_lanes"), width=8),
    lines(
        "PCIe packets sent again", "By each GPU.", "cps", {GPU: rate("gpu_pcie_replays_total", NODE)}, width=8
    ),
    listing(
        "Ports and NICs",
        "Whether each network port is up.",
        "none",
        f"{_of('port_active')} or {_of('nic_carrier')}",
        {"node": "Node", "port": "Port", "nic": "NIC", "Value": "Is"},
        words=UP,
        width=8,
    ),
    row("Host"),
    lines(
        "Memory available",
        "Of the host; below the dashed line the kernel's OOM killer is near.",
        "percentunit",
        {"{{node}}": f"{_of('host_memory_available_bytes')} / {_of('host_memory_total_bytes')}"},
        limits=Limits(bad=host.MEMORY_LOW, low=True),
        width=8,
    ),
    lines(
        "Waiting",
        "Share of time in which processes waited for memory, disks or a processor.",
        "percentunit",
        {
            "memory": worst(_of("host_memory_stalled_ratio")),
            "disks": worst(_of("host_io_stalled_ratio")),
            "processor": worst(_of("host_cpu_pressure_ratio")),
            "stolen": worst(_of("host_cpu_stolen_ratio")),
        },
        width=8,
    ),
    lines(
        "Ranks that wait for a processor",
        "Share of 30 s; dashed, where the check calls it contention.",
        "percentunit",
        {"rank {{rank}}": worst(_of("rank_cpu_wait_ratio"), "rank")},
        limits=Limits(notice=contention.CONTENDED),
        width=8,
    ),
    lines(
        "Volumes, used",
        "Share of each; at the dashed line a checkpoint may not fit.",
        "percentunit",
        {"{{path}}": f"1 - {_of('host_disk_free_bytes')} / {_of('host_disk_size_bytes')}"},
        limits=Limits(bad=volumes.FULL),
        width=8,
    ),
    lines(
        "Volumes, a mebibyte written and read",
        "How long it took last; dashed, where the check calls it slow.",
        "s",
        {
            "write {{path}}": _of("volume_write_seconds"),
            "read {{path}}": _of("volume_read_seconds"),
            "no answer {{path}}": _of("volume_waits_seconds"),
        },
        limits=Limits(notice=volumes.SLOW_S, bad=volumes.HUNG_S),
        width=8,
    ),
    lines(
        "Object stores, a small object put and got",
        "How long it took last, and for how long a store has not answered.",
        "s",
        {
            "put {{url}}": _of("store_put_seconds"),
            "get {{url}}": _of("store_get_seconds"),
            "no answer {{url}}": _of("store_waits_seconds"),
        },
        limits=Limits(notice=stores.SLOW_S, bad=stores.HUNG_S),
        width=8,
    ),
    lines(
        "Clock error",
        "By how much its clock may be off at most.",
        "s",
        {"{{node}}": _of("clock_error_seconds")},
        width=8,
    ),
    lines(
        "Errors of the host",
        "Of its memory and its PCIe devices, in each stretch of the graph.",
        "short",
        {
            "memory, uncorrectable": total(increase("memory_uncorrectable_errors_total", NODE)),
            "memory, corrected": total(increase("memory_corrected_errors_total", NODE)),
            "PCIe {{pci}}": total(increase("pcie_uncorrected_errors_total", NODE), "pci"),
        },
        width=8,
    ),
    lines(
        "Processes that do not end",
        "In uninterruptible sleep, or ended and not taken away.",
        "short",
        {"stuck": worst(_of("host_stuck_processes")), "zombies": worst(_of("host_zombie_processes"))},
        width=8,
    ),
    listing(
        "Services",
        "Those that are installed.",
        "none",
        _of("service_active"),
        {"node": "Node", "service": "Service", "Value": "Is"},
        words=UP,
        width=8,
    ),
    listing(
        "GPUs, what they are",
        "As a ticket to the provider needs it.",
        "none",
        _of("gpu_info"),
        {
            "node": "Node",
            "gpu": "GPU",
            "model": "Model",
            "uuid": "UUID",
            "serial": "Serial",
            "driver": "Driver",
            "vbios": "VBIOS",
        },
        width=16,
    ),
    row("Ranks"),
    number(
        "Stopped ranks",
        "Ranks whose process does not run.",
        "short",
        f"sum({_of('rank_runs')} == bool 0)",
        limits=Limits(bad=1),
        none="no rank",
    ),
    listing(
        "What each rank does",
        "Its phase, and for how long.",
        "s",
        _of("rank_phase_age_seconds"),
        {"node": "Node", "rank": "Rank", "phase": "Phase", "Value": "Since"},
        width=8,
    ),
    lines(
        "Steps of each rank",
        "The newest that each has completed: who is behind.",
        "none",
        {"rank {{rank}}": _of("rank_step")},
    ),
    choose=(one_node(),),
)
