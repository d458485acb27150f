"""Loading torch, which takes longer than a measurement where a machine is busy or its disk slow."""


def load() -> None:
    """Load what collectives and devices are measured with. Raises ImportError where there is none."""
    import torch
    import torch.distributed

    torch.cuda.is_available()
