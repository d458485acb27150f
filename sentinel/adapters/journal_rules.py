"""What the hashes of a journal's rules stand for, as text that is checked by its hash."""

import hashlib
import json

from sentinel.model.codec import Plain


def hash_of(plain: Plain) -> str:
    """Identify a policy or runbooks in their plain form: 16 hexadecimal digits."""
    return hashlib.sha256(to_text(plain).encode()).hexdigest()[:16]


def to_text(plain: Plain) -> str:
    """Give the text that is kept."""
    return json.dumps(plain, sort_keys=True)


def read(name: str, text: str) -> Plain:
    """Read a kept text. Raises ValueError if it is not what was kept under this name."""
    plain: Plain = json.loads(text)
    if hashlib.sha256(text.encode()).hexdigest()[:16] != name:
        raise ValueError("its hash does not fit")
    return plain
