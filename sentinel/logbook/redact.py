"""Keep secrets out of what people read: log lines, tracebacks and reasons may carry them."""

import re

HIDDEN = "[hidden]"

_SECRETS = (
    re.compile(r"\bxox[a-z]-[\w-]{8,}"),  # Slack
    re.compile(r"\bxapp-[\w-]{8,}"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # AWS access key ids
    re.compile(r"\b(?:gh[pousr]_|github_pat_|hf_|sk-|glpat-)\w{16,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)
_AFTER = re.compile(
    r"(?i)\b((?:authorization\s*[:=]\s*)?bearer\s+"
    r"|[\w-]*(?:password|passwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|token)[\"']?\s*[:=]\s*[\"']?)"
    r"([^\s\"',;&]{4,})"
)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(?=@)")


def redact(text: str) -> str:
    """Replace what looks like a secret by `[hidden]`; everything else stays as it is."""
    for pattern in _SECRETS:
        text = pattern.sub(HIDDEN, text)
    text = _AFTER.sub(lambda found: found.group(1) + HIDDEN, text)
    return _IN_URL.sub(lambda found: found.group(1) + HIDDEN, text)
