"""The durable store: which checkpoints a directory holds, which of them are whole, and who may commit.

A checkpoint is a folder `step-<step>-generation-<generation>`: the files of torch.distributed.checkpoint,
then `manifest.json` with their hashes, and last `COMMIT`, which holds the manifest's hash. A folder without
a commit mark is no checkpoint. Each generation writes folders of its own, so that a rank that was thought
dead can't write into its successor's.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "COMMIT"
MANIFEST = "manifest.json"
FENCE = "GENERATION"
FOLDER = re.compile(r"step-(\d+)-generation-(\d+)")


class StaleGenerationError(RuntimeError):
    """A newer generation has claimed the directory; trying again is of no use."""


@dataclass(frozen=True, order=True, slots=True)
class Checkpoint:
    """A folder of the store; the newest is the one of the latest generation, then of the highest step.

    What an earlier generation has of a later step was passed over as damaged when the later one began.
    """

    generation: int
    step: int
    path: Path

    @property
    def committed(self) -> bool:
        """Whether the mark was written, which happens last."""
        return (self.path / MARK).exists()


def folder(directory: Path, step: int, generation: int) -> Checkpoint:
    """Where `generation` writes the checkpoint of `step`."""
    return Checkpoint(generation, step, directory / f"step-{step}-generation-{generation}")


def folders(directory: Path) -> list[Checkpoint]:
    """Every folder, newest first, whole or not."""
    names = (FOLDER.fullmatch(path.name) for path in directory.iterdir()) if directory.is_dir() else ()
    found = [folder(directory, int(name[1]), int(name[2])) for name in names if name]
    return sorted(found, reverse=True)


def committed(directory: Path, above: int = -1, since: int = -1) -> list[Checkpoint]:
    """Those with a commit mark, newest first, of a step above `above`, by generation `since` or later."""
    found = folders(directory)
    return [each for each in found if each.step > above and each.generation >= since and each.committed]


def hash_files(path: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file in hexadecimal."""
    hashes = {}
    for name in names:
        with (path / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def claim(directory: Path, generation: int) -> None:
    """Fence off older generations; raises StaleGenerationError when a newer one has done so to us."""
    fence = directory / FENCE
    newest = int(fence.read_text(encoding="ascii")) if fence.exists() else -1
    if newest > generation:
        raise StaleGenerationError(f"generation {generation} may not commit: {newest} has taken over")
    if newest < generation:
        directory.mkdir(parents=True, exist_ok=True)
        _write_whole(fence, str(generation))


def commit(checkpoint: Checkpoint, world: int, hashes: Mapping[str, str]) -> None:
    """Write manifest and mark; everything they vouch for must be on disk.

    Raises StaleGenerationError when another generation takes over before the mark is in place.
    """
    directory = checkpoint.path.parent
    manifest = {
        "step": checkpoint.step, "generation": checkpoint.generation, "world": world, "sha256": dict(hashes),
    }  # fmt: skip
    _write_whole(checkpoint.path / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
    claim(directory, checkpoint.generation)
    _write_whole(checkpoint.path / MARK, *hash_files(checkpoint.path, [MANIFEST]).values())
    try:
        claim(directory, checkpoint.generation)  # the process may have been stopped just before the mark
    except StaleGenerationError:
        (checkpoint.path / MARK).unlink()
        raise


def damage(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a committed checkpoint in one line, or None when every hash fits."""
    try:
        vouched = (checkpoint.path / MARK).read_text(encoding="ascii")
        if hash_files(checkpoint.path, [MANIFEST])[MANIFEST] != vouched:
            return f"{checkpoint.path}: {MANIFEST} does not match its commit mark"
        manifest = json.loads((checkpoint.path / MANIFEST).read_text(encoding="utf-8"))
        hashes = hash_files(checkpoint.path, manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{checkpoint.path}: {error}"
    wrong = sorted(name for name, digest in manifest["sha256"].items() if hashes[name] != digest)
    return f"{checkpoint.path}: hash of {', '.join(wrong)} differs" if wrong else None


def newest_verified(directory: Path, above: int = -1, since: int = -1) -> tuple[Checkpoint | None, list[str]]:
    """The newest of `committed` whose hashes all fit, and a line per damaged one passed over."""
    passed_over: list[str] = []
    for checkpoint in committed(directory, above, since):
        line = damage(checkpoint)
        if line is None:
            return checkpoint, passed_over
        passed_over.append(line)
    return None, passed_over


def discard(checkpoint: Checkpoint) -> None:
    """Remove a folder; its mark goes first, so that half of it is never taken for a checkpoint."""
    (checkpoint.path / MARK).unlink(missing_ok=True)
    shutil.rmtree(checkpoint.path, ignore_errors=True)


def retain(newest: Checkpoint, keep: int) -> None:
    """Keep the `keep` newest committed checkpoints; also remove what older saves left unfinished."""
    found = folders(newest.path.parent)
    for checkpoint in [checkpoint for checkpoint in found if checkpoint.committed][keep:]:
        discard(checkpoint)
    for checkpoint in found:
        if checkpoint.generation <= newest.generation and not checkpoint.committed:
            discard(checkpoint)


def _write_whole(path: Path, text: str) -> None:
    """Put `text` in place at once and durably: nobody ever reads half of it."""
    draft = path.with_name(f"{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
