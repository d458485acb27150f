"""The end of an entry: what people say of its diagnosis, also long after it was written."""

import re
from collections.abc import Sequence

from sentinel.logbook.markdown import inline, utc
from sentinel.model.judgement import Judgement
from sentinel.redact import redact

HEADING = "## What people say of it"


def with_judgements(entry: str, judged: Sequence[Judgement]) -> str:
    """Give an entry that ends with these, and with no earlier ones."""
    before = re.split(rf"^{HEADING}$", entry, maxsplit=1, flags=re.MULTILINE)[0].rstrip()
    lines = [f"- {utc(each.at)}: {inline(redact(str(each)))}" for each in judged]
    return "\n".join([before, "", HEADING, "", *lines, ""]) if lines else f"{before}\n"
