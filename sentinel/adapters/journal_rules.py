"""What the hashes of a journal's rules stand for, as text that is checked by its hash."""

import hashlib
import json

from sentinel.model.codec import Plain


def hash_of(plain: Plain) -> str:
    """Identify a policy or runbooks in their plain form: 16 hexadecimal digits."""
    return _hash_of(to_text(plain).encode())


def to_text(plain: Plain) -> str:
    """Give the text that is kept."""
    return json.dumps(plain, sort_keys=True)


def read(name: str, text: bytes) -> Plain:
    """Read a kept text. Raises ValueError if it is not what was kept under this name."""
    if _hash_of(text) != name:
        raise ValueError("its hash does not fit")
    plain: Plain = json.loads(text)
    return plain


def _hash_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]
