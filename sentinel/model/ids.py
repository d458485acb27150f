"""Names and times that every other noun is built from."""

import re
from typing import Annotated, NewType

from msgspec import Meta

NODE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}\Z"
"""What a node may be called: a host name or an address, which is safe as a file's name, too."""
LABEL_KIND = r"^[a-z][a-z0-9_-]{0,31}\Z"
LABEL_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.:/@+-]{0,127}\Z"
"""What a rack or an image may be called, which is safe in a page, too."""
MOST_LABELS = 16
NodeId = NewType("NodeId", str)
"""A machine's stable name (its host name); survives a raylet or agent restart."""

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)
"""One process that is or may become a rank. A replacement is a new worker."""

IncidentId = NewType("IncidentId", str)
ActionId = NewType("ActionId", str)
Cause = NewType("Cause", str)
"""A runbook's name."""

Instant = float
"""Seconds since the epoch on the controller's clock, taken on receipt."""

Seconds = float

HOUR_S: Seconds = 3600.0
DAY_S: Seconds = 86400.0

Int = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""A whole number that comes from outside: counting on from it still fits into every format."""

NodeName = Annotated[NodeId, Meta(pattern=NODE_NAME)]
Word = Annotated[str, Meta(max_length=256)]
"""A name or a short phrase from outside."""
Text = Annotated[str, Meta(max_length=2**20)]
"""What somebody outside has to say."""
Address = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:%-]{0,255}\Z")]
"""A host's name or number."""
LabelKind = Annotated[str, Meta(pattern=LABEL_KIND)]
LabelName = Annotated[str, Meta(pattern=LABEL_NAME)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Rank = Annotated[int, Meta(ge=-1, le=2**20)]
"""-1 for a standby."""
Generation = Annotated[int, Meta(ge=-1, le=2**40)]
Step = Annotated[int, Meta(ge=-1, le=2**48)]
Gpu = Annotated[int, Meta(ge=-1, le=4096)]
"""A GPU's index; -1 for none."""
Pid = Annotated[int, Meta(ge=0, le=2**22)]
"""Linux counts no further."""
Port = Annotated[int, Meta(ge=0, le=65535)]
"""0 for none."""
Span = Annotated[Seconds, Meta(ge=-1e10, le=1e10)]
"""A duration or a moment from outside: any clock may be wrong, but it is a number."""


def label(kind: str, name: str) -> tuple[str, str]:
    """Take two texts as a label: a kind of domain and its name. Raises ValueError, in one line."""
    if not re.search(LABEL_KIND, kind):
        raise ValueError(f"{kind!r:.80} is no kind of label, such as rack, feed, switch, nvlink or image")
    if not re.search(LABEL_NAME, name):
        raise ValueError(f"{kind}: {name!r:.80} is no name: letters, digits and _ . : / @ + - without spaces")
    return kind, name


def node_name(text: str) -> NodeId:
    """Take a text as a node's name. Raises ValueError, in one line, for what is none."""
    if not re.search(NODE_NAME, text):
        raise ValueError(
            f"{text!r:.80} is no name for a node: up to 200 letters, digits and _ . : - "
            "of which the first is a letter, a digit or _"
        )
    return NodeId(text)
