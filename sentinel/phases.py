"""What a rank can be doing: the phases of its heartbeat record, and which of them may take long."""

PHASES = {
    "setup": "the process starts, or builds its model",
    "load": "it reads a snapshot or a checkpoint",
    "data": "it waits for its data loader",
    "compute": "forward, backward, the optimizer",
    "collective": "it is in a collective, or waits in one for its peers",
    "snapshot": "it copies its state in memory",
    "save": "it writes a checkpoint",
    "pause": "it has stopped at a step boundary, as it was asked to",
    "standby": "it is warm and has no rank",
    "failed": "it raised; the record says what",
    "done": "its work is done, and it ends",
    "evaluate": "it evaluates, compiles anew, or does anything else between two steps that takes long",
    "training": "it completes steps, has named no phase and entered no collective: it may do anything",
}
"""Each phase and what it means. A phase's place in this order is its number in the record: add at the end."""

SLOW_PHASES = frozenset({"setup", "load", "snapshot", "save", "evaluate", "training"})
"""Phases that may take `policy.slow_phase_s` without being a hang."""
