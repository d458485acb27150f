"""A small decoder-only language model whose feed-forward layers are mixtures of experts.

Tensor names end in their shape. B: batch, T: sequence, N: tokens (B·T), D: model width, V: vocabulary,
E: experts, K: choices per token, S: choices (N·K), C: places per expert, F: expert width.
"""

# ruff: noqa: N803, N806 (the capitals of a name are its shape)

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentinel.trainer.settings import TrainerSettings


class Router(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Chooses the top-k experts of every token."""

    def __init__(self, dim: int, experts: int, top_k: int, jitter: float) -> None:
        super().__init__()
        self.score = nn.Linear(dim, experts, bias=False)
        self.top_k = top_k
        self.jitter = jitter

    def forward(self, x_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (weight_NK that sums to one per token, expert_NK, load-balance loss)."""
        if self.training and self.jitter > 0:
            x_ND = x_ND * torch.empty_like(x_ND).uniform_(1 - self.jitter, 1 + self.jitter)
        share_NE = self.score(x_ND).float().softmax(dim=-1)
        weight_NK, expert_NK = share_NE.topk(self.top_k, dim=-1)
        weight_NK = weight_NK / weight_NK.sum(dim=-1, keepdim=True)
        return weight_NK.to(x_ND.dtype), expert_NK, balance_loss(share_NE, expert_NK)


def balance_loss(share_NE: Tensor, expert_NK: Tensor) -> Tensor:
    """Switch Transformer's auxiliary loss: 1 when tokens spread evenly, near E when one expert gets all."""
    experts = share_NE.size(-1)
    load_E = functional.one_hot(expert_NK.flatten(), experts).to(share_NE.dtype).mean(dim=0)
    return experts * (load_E * share_NE.mean(dim=0)).sum()


def places(expert_S: Tensor, experts: int) -> tuple[Tensor, int]:
    """Give every choice a place of its own: (place_S among E·C, capacity C). No token is dropped."""
    chosen_SE = functional.one_hot(expert_S, experts)
    position_S = (chosen_SE.cumsum(dim=0) * chosen_SE).sum(dim=1) - 1
    capacity = int(chosen_SE.sum(dim=0).max())
    return expert_S * capacity + position_S, capacity


class Experts(nn.Module):  # type: ignore[misc]
    """Many gated linear units of the same shape, computed side by side."""

    def __init__(self, dim: int, experts: int, expert_dim: int) -> None:
        super().__init__()
        self.gate_EDF = nn.Parameter(torch.randn(experts, dim, expert_dim) * dim**-0.5)
        self.up_EDF = nn.Parameter(torch.randn(experts, dim, expert_dim) * dim**-0.5)
        self.down_EFD = nn.Parameter(torch.randn(experts, expert_dim, dim) * expert_dim**-0.5)

    def forward(self, x_ECD: Tensor) -> Tensor:
        """Row C of block E through expert E."""
        hidden_ECF = functional.silu(x_ECD @ self.gate_EDF) * (x_ECD @ self.up_EDF)
        return hidden_ECF @ self.down_EFD


class MixtureOfExperts(nn.Module):  # type: ignore[misc]
    """Router, dispatch, experts, and the weighted sum of what the chosen experts say."""

    def __init__(self, settings: TrainerSettings) -> None:
        super().__init__()
        self.router = Router(settings.dim, settings.experts, settings.top_k, settings.jitter)
        self.experts = Experts(settings.dim, settings.experts, settings.expert_dim)

    def forward(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y_ND, load-balance loss). Places are unique, so the result has one order of summing."""
        weight_NK, expert_NK, balance = self.router(x_ND)
        (n, k), d, e = expert_NK.shape, x_ND.size(1), len(self.experts.gate_EDF)
        place_S, capacity = places(expert_NK.flatten(), e)
        x_SD = x_ND.unsqueeze(1).expand(n, k, d).reshape(n * k, d)
        x_ECD = x_SD.new_zeros(e * capacity, d).index_copy(0, place_S, x_SD).view(e, capacity, d)
        y_SD = self.experts(x_ECD).view(e * capacity, d)[place_S]
        return (y_SD.view(n, k, d) * weight_NK.unsqueeze(-1)).sum(dim=1), balance


class Attention(nn.Module):  # type: ignore[misc]
    """Causal self-attention with several heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix each position with those before it."""
        b, t, d = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y_BHTd = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y_BHTd.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):  # type: ignore[misc]
    """Attention and a mixture of experts, each normed before and added after."""

    def __init__(self, settings: TrainerSettings) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(settings.dim)
        self.attention = Attention(settings.dim, settings.heads)
        self.moe_norm = nn.RMSNorm(settings.dim)
        self.moe = MixtureOfExperts(settings)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x_BTD, load-balance loss)."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD))
        y_ND, balance = self.moe(self.moe_norm(x_BTD).flatten(0, 1))
        return x_BTD + y_ND.view_as(x_BTD), balance


class MoeModel(nn.Module):  # type: ignore[misc]
    """Token and position embeddings, blocks, a head; its forward pass returns the training loss."""

    def __init__(self, settings: TrainerSettings) -> None:
        super().__init__()
        self.balance = settings.balance
        self.token = nn.Embedding(settings.vocabulary, settings.dim)
        self.position = nn.Embedding(settings.sequence, settings.dim)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.RMSNorm(settings.dim)
        self.head = nn.Linear(settings.dim, settings.vocabulary, bias=False)

    def forward(self, token_BT: Tensor, target_BT: Tensor, weight_BT: Tensor) -> Tensor:
        """Weighted mean cross entropy in nats plus the balance loss; a weight that is NaN makes it NaN."""
        place_T = torch.arange(token_BT.size(1), device=token_BT.device)
        x_BTD = self.token(token_BT) + self.position(place_T)
        balances = []
        for block in self.blocks:
            x_BTD, balance = block(x_BTD)
            balances.append(balance)
        logit_NV = self.head(self.norm(x_BTD)).flatten(0, 1).float()
        loss_N = functional.cross_entropy(logit_NV, target_BT.flatten(), reduction="none")
        return (loss_N * weight_BT.flatten()).mean() + self.balance * torch.stack(balances).mean()
