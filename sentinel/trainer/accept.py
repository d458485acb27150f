"""Checkpoints that this job has not sealed: what they are, for people to look at, and how they are sealed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from sentinel import private
from sentinel.trainer import checkpoint as store


class _Any(msgspec.Struct, frozen=True):
    """A manifest of any release: `sha256` is what those without seals wrote."""

    step: int
    generation: int
    world: int = 0
    files: dict[store.FileName, store.File] = {}
    sha256: dict[store.FileName, str] = {}

    def hashes(self) -> dict[str, str]:
        """Of each file by its name."""
        return self.sha256 | {name: file.sha256 for name, file in self.files.items()}


class Candidate(msgspec.Struct, frozen=True):
    """A committed checkpoint without a seal of ours."""

    checkpoint: store.Checkpoint
    manifest: store.Manifest
    owner: int
    """Uid of whoever made its folder."""

    def __str__(self) -> str:
        size = sum(file.bytes for file in self.manifest.files.values())
        return f"{self.checkpoint.path}: {size} bytes, of user {self.owner}, whole and not sealed"


def candidates(directory: Path, key: bytes) -> Iterator[Candidate | str]:
    """Every committed checkpoint that is not sealed and whose files are as its own manifest says.

    Newest first; a line for each that is damaged. Nothing is unpickled.
    """
    for checkpoint in store.committed(directory):
        try:
            store.sealed_manifest(checkpoint, key)
        except store.UnsealedError:
            yield _candidate(checkpoint)
        except (OSError, store.DamagedError) as error:
            yield f"{checkpoint.path}: {error}"


def seal(candidate: Candidate, key: bytes) -> None:
    """Vouch for a checkpoint by this job's key."""
    manifest = store.encode_manifest(candidate.manifest)
    private.write(candidate.checkpoint.path / store.MANIFEST, manifest, durable=True, shared=True)
    store.mark(candidate.checkpoint, manifest, key)


def _candidate(checkpoint: store.Checkpoint) -> Candidate | str:
    try:
        content = private.read(checkpoint.path / store.MANIFEST, store.MOST_MANIFEST, shared=True)
        parsed = msgspec.json.decode(content, type=_Any)
        files = store.hash_files(checkpoint.path, parsed.hashes())
        wrong = [name for name, digest in parsed.hashes().items() if files[name].sha256 != digest]
        if wrong:
            raise store.DamagedError(f"hash of {', '.join(wrong)} differs")
        if (parsed.step, parsed.generation) != (checkpoint.step, checkpoint.generation):
            raise store.DamagedError(f"is step {parsed.step} of generation {parsed.generation}")
        manifest = store.Manifest(parsed.step, parsed.generation, parsed.world, files)
        return Candidate(checkpoint, manifest, checkpoint.path.stat().st_uid)
    except (OSError, msgspec.MsgspecError, store.DamagedError) as error:
        return f"{checkpoint.path}: {error}"
