import pytest
import torch

from sentinel.trainer.moe import Experts, MixtureOfExperts, Router, balance_loss, places
from sentinel.trainer.settings import TrainerSettings

SETTINGS = TrainerSettings(data="unused", dim=16, experts=4, top_k=2, expert_dim=8, jitter=0.0)


def test_router_weights_sum_to_one_over_distinct_experts() -> None:
    torch.manual_seed(0)
    weight_nk, expert_nk, _ = Router(dim=16, experts=8, top_k=3, jitter=0.1)(torch.randn(50, 16))
    assert torch.allclose(weight_nk.sum(dim=1), torch.ones(50))
    assert all(len(set(row)) == 3 for row in expert_nk.tolist())


@pytest.mark.parametrize(
    ("experts_chosen", "expected"),
    [
        pytest.param([0, 1, 2, 3], 1.0, id="even"),
        pytest.param([0, 0, 0, 0], 4.0, id="one expert gets all"),
    ],
)
def test_balance_loss(experts_chosen: list[int], expected: float) -> None:
    chosen = torch.tensor(experts_chosen)
    share = torch.nn.functional.one_hot(chosen, 4).float()
    assert balance_loss(share, chosen.unsqueeze(1)).item() == pytest.approx(expected)


def test_balance_loss_alone_spreads_the_load() -> None:
    torch.manual_seed(0)
    router, x = Router(dim=16, experts=8, top_k=1, jitter=0.0), torch.randn(256, 16) + 1.0
    optimizer = torch.optim.Adam(router.parameters(), lr=0.02)
    first = max(torch.bincount(router(x)[1].flatten(), minlength=8).tolist())
    for _ in range(100):
        optimizer.zero_grad()
        router(x)[2].backward()
        optimizer.step()
    assert max(torch.bincount(router(x)[1].flatten(), minlength=8).tolist()) < first


def test_every_choice_gets_a_place_of_its_own() -> None:
    expert = torch.tensor([2, 0, 2, 2, 1])
    place, capacity = places(expert, experts=4)
    assert capacity == 3
    assert place.tolist() == [6, 0, 7, 8, 3]


def test_mixture_equals_each_token_through_its_experts_one_by_one() -> None:
    torch.manual_seed(0)
    moe, x = MixtureOfExperts(SETTINGS), torch.randn(20, 16)
    weight, expert, _ = moe.router(x)
    y, _ = moe(x)
    for n in range(20):
        expected = sum(weight[n, k] * one_expert(moe.experts, int(expert[n, k]), x[n]) for k in range(2))
        assert torch.allclose(y[n], expected, atol=1e-6)


def one_expert(experts: Experts, e: int, x: torch.Tensor) -> torch.Tensor:
    hidden = torch.nn.functional.silu(x @ experts.gate_EDF[e]) * (x @ experts.up_EDF[e])
    return hidden @ experts.down_EFD[e]
