"""Named conditions that runbooks match by: what needs computing, from an incident's evidence."""

from collections.abc import Mapping

from sentinel.core.diagnose.predicates.case import Case, Match, Predicate
from sentinel.core.diagnose.predicates.control_plane import (
    gcs_dead,
    journal_failed,
    lacks_room,
    link_lost,
    scheduler_untold,
)
from sentinel.core.diagnose.predicates.crashes import (
    ended_together,
    ended_unheard,
    gang_broken,
    rank_exited,
    repeats_on_node,
    repeats_with_rank,
    since_step,
)
from sentinel.core.diagnose.predicates.exceptions import (
    comes_from_outside,
    desync,
    follows_a_setting,
    follows_the_code,
    follows_the_node,
    user_exception,
)
from sentinel.core.diagnose.predicates.gpus import app_xid_repeats
from sentinel.core.diagnose.predicates.hangs import (
    all_loaders_stuck,
    hangs_by_turns,
    laggard,
    loader_stuck,
    slow_on_every_node,
    straggler,
)
from sentinel.core.diagnose.predicates.nodes import agent_dead, agent_hung, control_cut, node_cut, node_lost
from sentinel.core.diagnose.predicates.numbers import loss_nan, miscomputed, nan_again_same, nan_not_repeated
from sentinel.core.diagnose.predicates.paces import job_slow, stopped_again
from sentinel.core.diagnose.predicates.starts import starts_fail

__all__ = ["NAMES", "PREDICATES", "Case", "Match", "Predicate", "laggard", "since_step"]

PREDICATES: Mapping[str, Predicate] = {
    predicate.__name__: predicate
    for predicate in (
        rank_exited,
        ended_unheard,
        ended_together,
        laggard,
        hangs_by_turns,
        loader_stuck,
        all_loaders_stuck,
        user_exception,
        follows_the_code,
        follows_a_setting,
        comes_from_outside,
        follows_the_node,
        repeats_on_node,
        repeats_with_rank,
        app_xid_repeats,
        node_lost,
        node_cut,
        control_cut,
        agent_dead,
        agent_hung,
        gcs_dead,
        journal_failed,
        link_lost,
        lacks_room,
        starts_fail,
        scheduler_untold,
        gang_broken,
        slow_on_every_node,
        straggler,
        stopped_again,
        job_slow,
        loss_nan,
        miscomputed,
        nan_again_same,
        nan_not_repeated,
        desync,
    )
}

NAMES = frozenset(PREDICATES)
