"""The durable store: which checkpoints a directory holds, which of them are whole, and who may commit.

A checkpoint is a folder `step-<step>-generation-<generation>`: the files of torch.distributed.checkpoint,
then `manifest.json` with their sizes and hashes, and last `COMMIT`, which holds the manifest's seal, an HMAC
by the job's key. A folder without a commit mark is no checkpoint, and nothing of one is unpickled before its
seal and hashes were found right. Each generation writes folders of its own, so that a rank that was thought
dead can't write into its successor's.
"""

import hashlib
import hmac
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from sentinel import private

MARK = "COMMIT"
MANIFEST = "manifest.json"
FENCE = "GENERATION"
FOLDER = re.compile(r"step-(\d{1,15})-generation-(\d{1,15})")
MOST_MANIFEST = 64 * 1024 * 1024
_MOST_MARK = 1024
_PIECE = 1 << 20
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9_-]$", max_length=255)]
"""Of a file inside the folder."""


class StaleGenerationError(RuntimeError):
    """A newer generation has claimed the directory; trying again is of no use."""


class DamagedError(ValueError):
    """A checkpoint is not what its manifest says; one line says what and where."""


class UnsealedError(RuntimeError):
    """Checkpoints are there, and none of them was sealed by this job's key: people have to look."""


class File(msgspec.Struct, frozen=True):
    """What a manifest vouches for."""

    bytes: int
    sha256: str
    """Hexadecimal."""


class Manifest(msgspec.Struct, frozen=True):
    """What belongs to a checkpoint."""

    step: int
    generation: int
    world: int
    """Ranks that wrote it; 0 where that is not known."""
    files: dict[FileName, File]


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
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        names = [FOLDER.fullmatch(each.name) for each in entries if each.is_dir(follow_symlinks=False)]
    found = [folder(directory, int(name[1]), int(name[2])) for name in names if name]
    return sorted(found, reverse=True)


def committed(directory: Path, above: int = -1, since: int = -1) -> list[Checkpoint]:
    """Those with a commit mark, newest first, of a step above `above`, by generation `since` or later."""
    found = folders(directory)
    return [each for each in found if each.step > above and each.generation >= since and each.committed]


def hash_files(path: Path, names: Iterable[str]) -> dict[str, File]:
    """Size and SHA-256 of each file. Raises OSError, also for what is a link or no file."""
    return {name: _hashed(path / name, None) for name in names}


def _hashed(path: Path, size: int | None) -> File:
    """What a file is; one of another size than `size` is not read."""
    with os.fdopen(private.open_file(path, os.O_RDONLY, shared=True), "rb", buffering=0) as file:
        found = os.fstat(file.fileno()).st_size
        if size not in (None, found):
            raise DamagedError(f"{path.name} has {found} bytes, not {size}")
        digest, piece, left = hashlib.sha256(), memoryview(bytearray(_PIECE)), found
        while left and (count := file.readinto(piece[: min(left, _PIECE)])):
            digest.update(piece[:count])
            left -= count
    return File(found - left, digest.hexdigest())


def claim(directory: Path, generation: int, key: bytes) -> None:
    """Fence off older generations; raises StaleGenerationError when a newer one has done so to us.

    What this job has not sealed fences off nobody.
    """
    fence = directory / FENCE
    newest = _fenced(fence, key)
    if newest > generation:
        raise StaleGenerationError(f"generation {generation} may not commit: {newest} has taken over")
    if newest < generation:
        private.make_shared_folder(directory)
        content = f"{generation} {_seal(key, FENCE, str(generation).encode())}\n"
        private.write(fence, content.encode(), durable=True, shared=True)


def _fenced(fence: Path, key: bytes) -> int:
    try:
        generation, seal = private.read(fence, _MOST_MARK, shared=True).split()
    except (FileNotFoundError, ValueError):
        return -1
    sealed = hmac.compare_digest(seal, _seal(key, FENCE, generation).encode())
    return int(generation) if sealed else -1


def commit(checkpoint: Checkpoint, world: int, files: Mapping[str, File], key: bytes) -> None:
    """Write manifest and mark; everything they vouch for must be on disk.

    Raises StaleGenerationError when another generation takes over before the mark is in place.
    """
    directory = checkpoint.path.parent
    manifest = encode_manifest(Manifest(checkpoint.step, checkpoint.generation, world, dict(files)))
    private.write(checkpoint.path / MANIFEST, manifest, durable=True, shared=True)
    claim(directory, checkpoint.generation, key)
    mark(checkpoint, manifest, key)
    try:
        claim(directory, checkpoint.generation, key)  # the process may have been stopped just before the mark
    except StaleGenerationError:
        (checkpoint.path / MARK).unlink()
        raise


def encode_manifest(manifest: Manifest) -> bytes:
    """As it is written and sealed."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)


def mark(checkpoint: Checkpoint, manifest: bytes, key: bytes) -> None:
    """Seal a manifest that is in place; that commits the checkpoint."""
    content = _seal(key, MANIFEST, manifest).encode()
    private.write(checkpoint.path / MARK, content, durable=True, shared=True)


def sealed_manifest(checkpoint: Checkpoint, key: bytes) -> Manifest:
    """What a committed checkpoint vouches for.

    Raises UnsealedError when this job has not sealed it, DamagedError when it is another folder's, OSError.
    """
    seal = private.read(checkpoint.path / MARK, _MOST_MARK, shared=True)
    content = private.read(checkpoint.path / MANIFEST, MOST_MANIFEST, shared=True)
    if not hmac.compare_digest(seal, _seal(key, MANIFEST, content).encode()):
        raise UnsealedError(
            f"{MANIFEST} does not match its commit mark, or is not sealed by this job's key: "
            "`sentinel seal-checkpoints` seals it when you have looked"
        )
    try:
        manifest: Manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise DamagedError(f"{MANIFEST}: {error}") from None
    if (manifest.step, manifest.generation) != (checkpoint.step, checkpoint.generation):
        raise DamagedError(f"is step {manifest.step} of generation {manifest.generation}")
    return manifest


def verify(checkpoint: Checkpoint, key: bytes) -> Manifest:
    """See that a committed checkpoint is sealed and all of its files are as they were.

    Raises UnsealedError, DamagedError or OSError.
    """
    manifest = sealed_manifest(checkpoint, key)
    wrong = [
        name
        for name, file in sorted(manifest.files.items())
        if _hashed(checkpoint.path / name, file.bytes) != file
    ]
    if wrong:
        raise DamagedError(f"hash of {', '.join(wrong)} differs")
    return manifest


def newest_verified(
    directory: Path, key: bytes, above: int = -1, since: int = -1
) -> tuple[Checkpoint | None, list[str]]:
    """The newest of `committed` that verifies, and a line per damaged one passed over.

    Raises UnsealedError when none does, there is no snapshot either (`above` -1), and one is not sealed:
    that may be all that was ever trained.
    """
    passed_over: list[str] = []
    unsealed: str = ""
    for checkpoint in committed(directory, above, since):
        try:
            verify(checkpoint, key)
        except (OSError, DamagedError, UnsealedError) as error:
            passed_over.append(f"{checkpoint.path}: {error}")
            unsealed = unsealed or (passed_over[-1] if isinstance(error, UnsealedError) else "")
        else:
            return checkpoint, passed_over
    if unsealed and above < 0:
        raise UnsealedError(unsealed)
    return None, passed_over


def discard(checkpoint: Checkpoint) -> None:
    """Remove a folder; its mark goes first, so that half of it is never taken for a checkpoint."""
    (checkpoint.path / MARK).unlink(missing_ok=True)
    shutil.rmtree(checkpoint.path, ignore_errors=True)


def retain(newest: Checkpoint, keep: int, key: bytes) -> None:
    """Keep the `keep` newest sealed checkpoints; also remove what older saves left unfinished.

    One that is committed and not sealed as it is stays: it may be an older release's, and takes no place.
    """
    found = folders(newest.path.parent)
    for checkpoint in [each for each in found if each.committed and _is_sealed(each, key)][keep:]:
        discard(checkpoint)
    for checkpoint in found:
        if checkpoint.generation <= newest.generation and not checkpoint.committed:
            discard(checkpoint)


def _is_sealed(checkpoint: Checkpoint, key: bytes) -> bool:
    try:
        sealed_manifest(checkpoint, key)
    except (UnsealedError, DamagedError, OSError):
        return False
    return True


def _seal(key: bytes, purpose: str, content: bytes) -> str:
    return hmac.new(key, purpose.encode() + b"\0" + content, "sha256").hexdigest()
