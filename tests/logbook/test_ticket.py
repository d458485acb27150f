"""The ticket for a provider: which machine, raw evidence, what is asked; and nobody else's business."""

from collections.abc import Sequence

import pytest
from test_statistics import a_row

from sentinel.logbook.masking import Mask
from sentinel.logbook.tally import Entry, Evicted, Proved
from sentinel.logbook.ticket import Ticket, markdown, ticket
from sentinel.model.collective import Figure, Held, MemberSample, Standing
from sentinel.model.fact import Fact, FindingReported, MembersProbed, NodeJoined, RankExited, RankRaised
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, WorkerId

T0 = 1_772_600_767.25
"""2026-03-04 05:06:07.25 UTC"""
N1, N2, N3 = NodeId("gpu-17"), NodeId("gpu-18"), NodeId("gpu-19")
MOE, ID = JobId("secret-model"), IncidentId("I-0001")
LINE = "NVRM: Xid (PCI:0000:41:00): 79, pid=1234, name=python3, GPU has fallen off the bus."
LOST = Finding(
    *("xid", "xid-79", "gpu-3", Health.CRITICAL, "GPU has fallen off the bus"),
    {"uuid": "GPU-5f", "serial": "1650", "pci": "0000:41:00.0", "line": LINE, "pid": 1234, "rank": 3},
    event=True,
    count=2,
    age_s=5.0,
)
STRANGER = Finding("gpu_tenants", "gpu-stranger", "gpu-3", Health.WARNING, "is used by bob's miner (77)")
SLOW = "slow to gpu-18 at 10.0.0.18"
PEER = Finding("pair", "link-slow", "net", Health.WARNING, SLOW, {"pair": "gpu-17 gpu-18"})
PROBE = MembersProbed(
    T0 + 9.0,
    ActionId("I-0001/prove/gpu-17/1"),
    ID,
    "gemm",
    tuple(
        MemberSample(node, (N1, N2, N3), {"cuda|gpu-3|bf16_tflops": value})
        for node, value in ((N1, 310.0), (N2, 640.0), (N3, 650.0), (N1, 300.0))
    ),
    (),
    held=(
        Held(
            Figure(N1, "cuda", "gpu-3", "bf16_tflops", 300.0),
            Standing.BEHIND,
            usual=512.0,
            spread=4.0,
            nodes=9,
        ),
        Held(Figure(N2, "cuda", "gpu-3", "bf16_tflops", 640.0), Standing.USUAL, usual=512.0, nodes=9),
    ),
)
RAISED = RankRaised(
    T0, MOE, 3, WorkerId("w3"), N1, 3, 1234, 1, 7, "user", "KeyError: 'x'", "File /home/ann/secret.py", ()
)
FACTS: tuple[Fact, ...] = (
    NodeJoined(T0 - 900.0, N1, "10.0.0.17", 7, 8, "boot-1", {"rack": "r12"}),
    NodeJoined(T0 - 900.0, N2, "10.0.0.18", 7, 8, "boot-2"),
    FindingReported(T0, N1, LOST),
    FindingReported(T0, N1, STRANGER),
    FindingReported(T0, N1, PEER),
    FindingReported(T0, N2, LOST),
    RankExited(T0, MOE, 3, WorkerId("w3"), N1, 3, 1234, 1, "signal 9"),
    RAISED,
    PROBE,
)
LIVE = {3: {"uuid": "GPU-5f", "driver": "580.65.06", "vbios": "96.00", "model": "NVIDIA H200"}}
ENTRIES: Sequence[Entry] = (
    Evicted(T0 + 1.0, N1, ID),
    Proved(T0 + 9.0, N1, ID, "failed", ("gpu-reset",), "gemm found on gpu-3: slow beside gpu-18"),
)


def written(entries: Sequence[Entry] = ENTRIES, hardware: Sequence[str] = ("gpu-lost",)) -> Ticket:
    row = a_row(1, T0, node="gpu-17", job=MOE, evicted=("gpu-17",), suspects=(("gpu-17", 3, 3),))
    others = a_row(2, T0, node="gpu-18", job=MOE)
    return ticket(N1, T0 + 99.0, [row, others], {"I-0001": FACTS}, entries, LIVE, hardware)


def test_it_says_which_machine_what_it_did_and_what_is_asked() -> None:
    text = markdown(written())
    for part in (
        "# gpu-17: 1 incident\n",
        "- Inspect, and repair or replace, GPU 3 "
        "(serial 1650, uuid GPU-5f, pci 0000:41:00.0): gpu-lost 1 time.",
        "- It fails its tests now, below: it is to pass them.",
        "| rack | r12 |",
        "| Address | 10.0.0.17 |",
        "| 3 | GPU-5f | 1650 | 0000:41:00.0 | NVIDIA H200 | 580.65.06 | 96.00 |",
        "**2026-03-04 05:06:02 UTC** gpu-3: xid/xid-79 critical: GPU has fallen off the bus",
        "times: 2",
        "- 2026-03-04 05:06:16 UTC: all tests after gpu-reset: failed: gemm found on gpu-3",
        "| 2026-03-04 05:06:16 UTC | gemm | cuda gpu-3 bf16_tflops | 300 | 645 | 2 | 512 | 9 | behind |",
        "gpu-3: a process of the job ended: signal 9",
        "2026-03-04 05:06:07 UTC, cause `gpu-lost`, GPU 3; the node was taken out of use.",
    ):
        assert part in text


def test_nobody_elses_business_is_in_it() -> None:
    found = written()
    text = f"{markdown(found)} {found}"
    for hidden in (
        "gpu-18",
        "gpu-19",
        "10.0.0.18",
        "secret-model",
        "python3",
        "ann",
        "bob",
        "KeyError",
    ):
        assert hidden not in text, hidden
    assert "slow to [another node] at [address]" in text
    assert "name=[process]" in text
    assert "2 lines)" in text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Comm: python3 Tainted", "Comm: [process] Tainted"),
        ("task=train,pid=7,uid=0", "task=[process],pid=7,uid=0"),
        ("task_memcg=/kubepods/pod1,task=x", "task_memcg=[control group],task=[process]"),
        ("/home/ann/run.py failed", "/home/[path] failed"),
        ("n1 and n10, n1.rack2, an1", "n1 and [another node], n1.rack2, an1"),
        ("token=hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "token=[hidden]"),
        ("from 192.168.0.7 to 10.1.2.3", "from [address] to 10.1.2.3"),
        ("the moe job", "the [job] job"),
    ],
)
def test_names_are_masked_as_whole_words(text: str, masked: str) -> None:
    assert Mask("n1", ["n1", "n10"], ["moe"], ["10.1.2.3"]).text(text) == masked


def test_a_machine_that_nothing_accuses_is_not_to_be_repaired() -> None:
    found = written(entries=(), hardware=())
    assert found.asked == ("Nothing: no incident accuses the machine",)


def test_what_is_not_known_is_said() -> None:
    row = a_row(1, T0, node="gpu-17")
    found = ticket(N1, T0, [row], {}, (), {}, ("gpu-lost",))
    assert found.notes[0].startswith("Nothing told its GPUs' serials")
    assert "No raw evidence is kept any more of I-0001" in found.notes
    assert "No raw evidence of this node is on record." in markdown(found)


@pytest.mark.parametrize(
    ("standing", "usual", "said"),
    [
        (Standing.BEHIND, 650.0, "| 300 |  |  | 650 | 9 | behind |"),
        (Standing.UNKNOWN, 0.0, "| 300 |  |  |  |  | unknown |"),
    ],
)
def test_what_was_measured_alone_is_told_beside_the_fleet(
    standing: Standing, usual: float, said: str
) -> None:
    sample = MemberSample(N1, (N1,), {"gpu-3|NVIDIA H200|bf16_tflops": 300.0})
    figure = Figure(N1, "gpu-3", "NVIDIA H200", "bf16_tflops", 300.0)
    held = Held(figure, standing, usual, nodes=9)
    probe = MembersProbed(T0, ActionId("by-hand-1"), IncidentId(""), "gemm", (sample,), (), held=(held,))
    row = a_row(1, T0, node="gpu-17")
    text = markdown(ticket(N1, T0, [row], {"": (probe,)}, (), {}, ()))
    assert f"| gemm | gpu-3 NVIDIA H200 bf16_tflops {said}" in text
