"""What is derived from the cluster's snapshot secret: a key for each job, and the controller's word."""

import hmac

DIGEST = "sha256"
KEY_BYTES = 32


def derive(key: bytes, *purpose: str | bytes | int) -> bytes:
    """Give the key of 32 bytes that belongs to a purpose; two purposes never share one."""
    parts = (part if isinstance(part, bytes) else str(part).encode() for part in purpose)
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), DIGEST)


def job_key(secret: bytes, job: str) -> bytes:
    """All that a job's ranks are given: with it they reach the snapshots of their job, and no other's."""
    return derive(secret, "job", job)


def checkpoint_key(job_key: bytes) -> bytes:
    """With which a job seals its checkpoints."""
    return derive(job_key, "checkpoints")


def word_for(secret: bytes, job: str, generation: int) -> bytes:
    """The controller's word that it has ordered this generation, which no rank can give itself."""
    return derive(secret, "generation", job, generation)
