"""Whose error a kernel line is about: ours, a stranger's, or nobody knows whose."""

from pathlib import Path

import pytest

from sentinel.checks import oom, xid
from sentinel.model.check import Machine, RankProcess
from sentinel.model.finding import Finding
from sentinel.runtime.probe import NoGpus

OURS = (
    RankProcess(101, "python3", 0),
    RankProcess(102, "ray::moe.w1:Run", 1),
    RankProcess(103, "python3.11", -1),
)


def machine(*lines: str, processes: tuple[RankProcess, ...] = OURS, kernel_pids: bool = True) -> Machine:
    return Machine(
        "n",
        NoGpus(),
        None,
        kernel_lines=lines,
        pci={"0000:01:00": 0},
        processes=processes,
        kernel_pids=kernel_pids,
    )


def fault(process: str, code: int = 31, **about: object) -> Finding:
    line = f"NVRM: Xid (PCI:0000:01:00): {code}, {process}, Ch 00000008, intr 00000000. MMU Fault"
    (finding,) = xid.judge(xid.measure(machine(line, **about)))  # type: ignore[arg-type]
    return finding


@pytest.mark.parametrize(
    ("process", "owner"),
    [
        pytest.param("pid=101, name=python3", "ours", id="a rank"),
        pytest.param("pid=101, name=pt_autograd_0", "ours", id="a rank's thread"),
        pytest.param("pid='101', name=ray::WorkerDict", "ours", id="a rank by another name"),
        pytest.param("pid=103, name=python3", "ours", id="a standby"),
        pytest.param("pid=999999, name=dcgmproftester1", "stranger", id="another number and name"),
        pytest.param("pid=999999, name=pt_main_thread", "stranger", id="another of torch"),
        pytest.param("pid=999999, name=nvc:[driver]", "stranger", id="another of the driver's"),
        pytest.param("pid=999999, name=python", "unknown", id="the same name"),
        pytest.param("pid=999999, name=python3.12", "unknown", id="the same name of another version"),
        pytest.param("pid=999999, name=ray::Other.fit", "unknown", id="another of Ray's workers"),
        pytest.param("pid=999999, name=pt_data_worker", "unknown", id="a loader, which is forked"),
        pytest.param("pid=999999, name=nvidia-cuda-mps", "unknown", id="the server of MPS, for its clients"),
        pytest.param("pid=0, name=swapper/12", "unknown", id="an interrupt, whoever ran"),
        pytest.param("pid=1533, name=irq/178-nvidia", "unknown", id="an interrupt's own thread"),
        pytest.param("pid=999999, name=raylet", "unknown", id="who takes its workers along"),
        pytest.param("pid=999999, name=nvidia-persiste", "stranger", id="another service of the driver's"),
        pytest.param("pid=999999", "unknown", id="no name"),
        pytest.param("pid=999999, name=<unknown>", "unknown", id="a name that nobody knows"),
        pytest.param("pid='<unknown>', name=<unknown>", "unknown", id="nothing known"),
        pytest.param("pid=<unknown>, name=dcgmproftester1", "unknown", id="no number"),
        pytest.param("channel 0x0000000a", "unknown", id="no process"),
        pytest.param(f"pid={'9' * 400}, name=dcgmproftester1", "unknown", id="a number that is none"),
    ],
)
def test_number_and_name_say_whose_it_is(process: str, owner: str) -> None:
    found = fault(process)
    assert found.evidence["owner"] == owner
    assert found.code == ("xid-31-stranger" if owner == "stranger" else "xid-31")


def test_a_rank_is_named_and_a_standby_has_none() -> None:
    assert fault("pid=102, name=x").evidence["rank"] == 1
    assert "rank" not in fault("pid=103, name=x").evidence


def test_an_agent_in_a_container_takes_no_other_number_for_a_strangers() -> None:
    assert fault("pid=999999, name=dcgmproftester1", kernel_pids=False).evidence["owner"] == "unknown"


@pytest.mark.parametrize("process", ["pid=101, name=python3", "pid=103, name=python3.11"])
def test_an_agent_in_a_container_takes_no_number_for_one_of_ours(process: str) -> None:
    found = fault(process, kernel_pids=False)
    assert found.evidence["owner"] == "unknown"
    assert "rank" not in found.evidence


def test_a_kill_for_memory_whose_number_says_nothing_names_no_rank() -> None:
    line = f"Out of memory: Killed process 101 (python3) {VICTIM}"
    (found,) = oom.judge(oom.measure(machine(line, kernel_pids=False)))
    assert (found.code, found.evidence["owner"], found.evidence.get("rank")) == ("oom-kill", "unknown", None)


def test_a_rank_is_named_with_its_job() -> None:
    both = (RankProcess(101, "python3", 0, "moe"), RankProcess(102, "python3", 0, "other"))
    found = [fault(f"pid={pid}, name=python3", processes=both) for pid in (101, 102)]
    assert [(each.evidence["job"], each.evidence["rank"]) for each in found] == [("moe", 0), ("other", 0)]


@pytest.mark.parametrize("processes", [(), (RankProcess(101, "", 0),)])
def test_who_does_not_know_our_names_calls_nobody_a_stranger(processes: tuple[RankProcess, ...]) -> None:
    assert fault("pid=999999, name=dcgmproftester1", processes=processes).evidence["owner"] == "unknown"


def test_names_are_compared_as_the_kernel_cuts_them() -> None:
    long = (RankProcess(101, "a_training_prog", 0),)
    assert fault("pid=7, name=a_training_program_2", processes=long).evidence["owner"] == "unknown"
    assert fault("pid=7, name=a_training_pro", processes=long).evidence["owner"] == "stranger"


@pytest.mark.parametrize("code", [48, 79, 95, 119])
def test_a_fatal_error_is_the_gpus_whoever_is_named(code: int) -> None:
    found = fault("pid=999999, name=dcgmproftester1", code)
    assert found.code == f"xid-{code}"
    assert "owner" not in found.evidence


VICTIM = "total-vm:32812kB, anon-rss:23856kB, file-rss:1700kB, shmem-rss:0kB"
SUMMARY = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0-1,oom_memcg=/a,task_memcg=/a/b,"
    "task={},pid={},uid=0"
)


def kills(*lines: str) -> list[tuple[object, object, str]]:
    found = oom.judge(oom.measure(machine(*lines)))
    return [(each.evidence["pid"], each.evidence["process"], each.code) for each in found]


KILLED = f"Killed process 101 (python3) {VICTIM}"
CHOSEN = "Kill process 101 (python3) score 900 or sacrifice child"
ONE = [(101, "python3", "oom-kill")]


@pytest.mark.parametrize(
    ("lines", "killed"),
    [
        pytest.param(
            [f"Out of memory: {KILLED}, UID:0 pgtables:112kB oom_score_adj:0"],
            ONE,
            id="5.4 and later",
        ),
        pytest.param(
            [f"Memory cgroup out of memory: {KILLED}"],
            ONE,
            id="a cgroup",
        ),
        pytest.param(
            [f"[88.3] Out of memory (oom_kill_allocating_task): {KILLED}"],
            ONE,
            id="who asked for memory",
        ),
        pytest.param(
            [f"Out of memory: {CHOSEN}", f"{KILLED}"],
            ONE,
            id="4.19: once",
        ),
        pytest.param(
            [f"Out of memory: {CHOSEN}", f"Killed process 4242 (python3) {VICTIM}"],
            [(4242, "python3", "oom-kill")],
            id="4.19: the child is the victim",
        ),
        pytest.param(
            ["Memory cgroup out of memory: Kill process 101 (python3) score 1923 or sacrifice child"],
            ONE,
            id="4.19: only the first line",
        ),
        pytest.param(
            [f"Out of memory (oom_kill_allocating_task): {CHOSEN}", f"{KILLED}"],
            ONE,
            id="4.19: who asked for memory",
        ),
        pytest.param(
            [f"Killed process 101, UID 0, (python3) {VICTIM}"],
            ONE,
            id="3.10",
        ),
        pytest.param(
            [SUMMARY.format("python3", 101), f"Memory cgroup out of memory: {KILLED}"],
            ONE,
            id="5.x: summary and victim",
        ),
        pytest.param([SUMMARY.format("python3", 101)], ONE, id="5.x: only the summary"),
        pytest.param(
            [SUMMARY.format("python3", 101), SUMMARY.format("python3", 102)],
            [(101, "python3", "oom-kill"), (102, "python3", "oom-kill")],
            id="two summaries",
        ),
        pytest.param(
            [f"Memory cgroup out of memory: Killed process {pid} (python3) {VICTIM}" for pid in (101, 102)],
            [(101, "python3", "oom-kill"), (102, "python3", "oom-kill")],
            id="a whole group",
        ),
        pytest.param(
            [f"Out of memory: Killed process 101 (Web Content (x) ) {VICTIM}"],
            [(101, "Web Content (x) ", "oom-kill")],
            id="parentheses and spaces in a name",
        ),
        pytest.param(
            [f"Out of memory: Killed process 101 () {VICTIM}"], [(101, "", "oom-kill")], id="no name"
        ),
        pytest.param(
            ["Out of memory: Killed process 101 (python3)"],
            ONE,
            id="cut off",
        ),
        pytest.param(
            [f"Out of memory: Killed process 4711 (postgres) {VICTIM}"],
            [(4711, "postgres", "oom-kill-stranger")],
            id="a stranger",
        ),
        pytest.param(
            [f"Out of memory: Killed process 4015 (python) {VICTIM}"],
            [(4015, "python", "oom-kill")],
            id="nobody knows whose",
        ),
        pytest.param(
            [
                "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
                "Out of memory: OOM victim 101 (python3) is already exiting. Skip killing the task",
                "oom_reaper: reaped process 101 (python3), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
                "Tasks in /a are going to be killed due to memory.oom.group set",
            ],
            [],
            id="what is no kill",
        ),
        pytest.param(
            [f"Nov 29 13:00:01 n1 app[7]: Out of memory: {KILLED}", f"earlyoom: Out of memory: {KILLED}"],
            [],
            id="who only quotes the kernel",
        ),
        pytest.param([f"Out of memory: Killed process {'1' * 400} (python3) {VICTIM}"], [], id="no number"),
    ],
)
def test_every_wording_of_the_oom_killer_gives_each_victim_once(
    lines: list[str], killed: list[tuple[object, object, str]]
) -> None:
    assert kills(*lines) == killed


# Records of /dev/kmsg on an H200 (driver 580.159.04, Linux 6.18) after a Triton kernel wrote out of bounds,
# first in the host's namespace of processes, then under `unshare --pid`, where it called itself process 1.
RECORDS = (Path(__file__).parents[1] / "captures/kmsg_h200.txt").read_text().splitlines()


def test_the_driver_names_a_process_in_a_container_by_the_hosts_number() -> None:
    inside = (RankProcess(582, "python3", 4),)
    found = list(xid.judge(xid.measure(machine(*RECORDS, processes=inside))))
    assert [(each.evidence["pid"], each.evidence["owner"]) for each in found] == [
        (541, "unknown"),
        (582, "ours"),
    ]
    assert found[1].evidence["rank"] == 4


SUMMARY = "oom-kill:constraint={},nodemask=(null),cpuset=/,mems_allowed=0,task=python3,pid=101,uid=0"
KILLED = "Killed process 101 (python3) total-vm:1kB, anon-rss:1kB"
CHOSEN = "{}: Kill process {} (python3) score 9 or sacrifice child"


@pytest.mark.parametrize(
    ("lines", "limit"),
    [
        ([f"Memory cgroup out of memory: {KILLED}"], "control group"),
        ([f"Out of memory: {KILLED}"], "node"),
        ([f"Out of memory (oom_kill_allocating_task): {KILLED}"], "node"),
        ([SUMMARY.format("CONSTRAINT_MEMCG"), KILLED], "control group"),
        ([SUMMARY.format("CONSTRAINT_CPUSET")], "cpuset"),
        ([SUMMARY.format("CONSTRAINT_MEMORY_POLICY"), KILLED], "memory policy"),
        ([CHOSEN.format("Memory cgroup out of memory", 101), KILLED], "control group"),
        ([CHOSEN.format("Out of memory", 7), KILLED], None),
        ([KILLED], None),
    ],
)  # fmt: skip
def test_a_kill_says_whose_memory_ran_out(lines: list[str], limit: str | None) -> None:
    found = [each for each in oom.judge(oom.measure(machine(*lines))) if each.evidence["pid"] == 101]
    assert [each.evidence.get("limit") for each in found] == [limit]
