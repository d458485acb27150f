"""A device that computes wrong, or slower than its likes, is named; nobody else is."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from sentinel.checks.gemm import CHECK, VERSION, figures, judge, processor
from sentinel.model.collective import Figure, Meeting, MemberSample
from sentinel.model.ids import NodeId

H200 = "NVIDIA H200"
RATES = [780.0, 786.0, 769.0, 791.0, 803.0, 775.0, 799.0, 783.0]
"""TFLOP/s of products of 8192 rows in bf16, random data, as one H200 measured them at different times."""


def sample(node: str, values: Mapping[str, float], *, busy: bool = False, kind: str = H200) -> MemberSample:
    named = {f"gpu-{n}|{kind}|bf16_tflops": rate for n, rate in enumerate(RATES)}
    named |= {
        f"{device}|{kind}|{what}": number for key, number in values.items() for device, what in [key.split()]
    }
    return MemberSample(NodeId(node), (NodeId(node),), named, busy=busy)


def found(*samples: MemberSample) -> list[tuple[str, str, str]]:
    return [(each.node, each.finding.code, each.finding.component) for each in judge(samples)]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({}, [], id="all alike"),
        pytest.param({"gpu-3 bf16_tflops": 700.0}, [("n1", "gpu-slow", "gpu-3")], id="a tenth below"),
        pytest.param({"gpu-3 bf16_tflops": 750.0}, [], id="less than a twentieth below"),
        pytest.param({"gpu-3 bf16_tflops": 900.0}, [], id="faster"),
        pytest.param({"gpu-5 wrong_numbers": 1.0}, [("n1", "wrong-numbers", "gpu-5")], id="one wrong number"),
        pytest.param({"gpu-5 wrong_numbers": 0.0}, [], id="none"),
        pytest.param(
            {"gpu-1 h2d_gb_per_s": 47.0}, [("n1", "gpu-slow", "gpu-1")], id="below what it has to reach"
        ),
        pytest.param({"gpu-1 h2d_gb_per_s": 55.5}, [], id="above it"),
    ],
)
def test_who_is_named(values: Mapping[str, float], named: list[tuple[str, str, str]]) -> None:
    assert found(sample("n1", values), sample("n2", {})) == named


def test_devices_of_another_kind_are_no_likes() -> None:
    slower = {f"gpu-{n} bf16_tflops": 300.0 for n in range(8)}
    assert found(sample("n1", {}), sample("n2", slower, kind="NVIDIA A100")) == []


def test_a_device_with_few_likes_is_not_judged_by_them() -> None:
    few = [
        MemberSample(NodeId(f"n{n}"), (), {f"gpu-0|{H200}|bf16_tflops": rate})
        for n, rate in enumerate([780, 400, 790])
    ]
    assert found(*few) == []


def test_rates_beside_a_job_say_nothing_and_wrong_numbers_do() -> None:
    values = {f"gpu-{n} bf16_tflops": 300.0 for n in range(8)} | {"gpu-2 wrong_numbers": 4.0}
    assert found(sample("n1", {}), sample("n2", values, busy=True)) == [("n2", "wrong-numbers", "gpu-2")]


def test_rates_are_figures_with_what_they_were_measured_under_and_not_beside_a_job() -> None:
    alone = replace(
        sample("n1", {"gpu-0 wrong_numbers": 0.0}), about={"torch": "2.13", "driver": "580.65.06"}
    )
    given = list(figures([alone, sample("n2", {}, busy=True)]))
    assert [each.value for each in given] == RATES
    first = Figure(NodeId("n1"), "gpu-0", H200, "bf16_tflops", RATES[0], "driver 580.65.06, torch 2.13")
    assert given[0] == first


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\n"
            "GCC version:  gcc version 9.3.0 (Ubuntu 9.3.0-17ubuntu1~20.04)\n",
            ["470.57.02"],
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n",
            ["580.65.06"],
        ),
        ("", []),
    ],
)
def test_the_drivers_version_is_read(text: str, driver: list[str]) -> None:
    assert VERSION.findall(text) == driver


def test_a_processors_kind_is_its_model_and_how_many_threads_compute(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654 | 96-Core\nflags\t: fpu\n")
    assert processor(8, file) == "AMD EPYC 9654 / 96-Core x8"
    assert processor(2, tmp_path / "none") == "cpu x2"


def test_a_node_that_measured_nothing_accuses_nobody() -> None:
    silent = MemberSample(NodeId("n3"), (NodeId("n3"),), error="no answer")
    assert found(sample("n1", {}), silent) == []


def test_each_measures_alone_all_at_once_and_once() -> None:
    nodes = [NodeId("n1"), NodeId("n2")]
    assert CHECK.plan(nodes, []) == [("n1",), ("n2",)]
    assert CHECK.plan(nodes, [sample("n1", {})]) == []


def test_this_machine_computes_right_and_a_broken_product_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from sentinel.checks import gemm

    monkeypatch.setattr(gemm, "RATE_FOR_S", 0.02)
    monkeypatch.setattr(gemm, "PASSES", 2)
    meeting = Meeting(("n1",), ("127.0.0.1",), 20000, 0, 30.0)
    values = gemm.measure(meeting)
    kinds = {name.split("|")[2]: value for name, value in values.items()}
    assert kinds["wrong_numbers"] == 0
    assert kinds["fp32_tflops"] > 0
    whole = torch.Tensor.__matmul__

    def breaks(left: object, right: object) -> object:
        product = whole(left, right)
        if product.dtype is torch.float32:
            product[3, 4] += 1
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", breaks)
    broken = gemm.measure(meeting)
    assert next(value for name, value in broken.items() if name.endswith("wrong_numbers")) == gemm.PASSES
