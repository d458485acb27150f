"""Whoever can write to the job's volume can't have a rank run, read, overwrite or go on from what is his."""

import contextlib
import importlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import rank_scenarios as scenarios
from rank_processes import RankProcesses

from sentinel import private
from sentinel.trainer import accept, plain_pickle
from sentinel.trainer import checkpoint as store
from sentinel.trainer.sealed_reader import SealedReader
from sentinel.trainer.settings import TrainerSettings

KEY = b"the job's key for its checkpoints"
OTHER = b"another job's"


class Program:
    """A pickle that runs when it is read."""

    def __init__(self, *command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (" ".join(self.command),)


def checkpoint(directory: Path, step: int, generation: int = 1, key: bytes = KEY) -> store.Checkpoint:
    target = store.folder(directory, step, generation)
    target.path.mkdir(parents=True)
    (target.path / "__0_0.distcp").write_bytes(bytes(range(200)))
    store.commit(target, 1, store.hash_files(target.path, ["__0_0.distcp"]), key)
    return target


def as_an_older_release(target: store.Checkpoint) -> None:
    """Everything that needs no key: hashes of all files, and the manifest's for a mark."""
    names = [path.name for path in target.path.iterdir() if path.name not in (store.MANIFEST, store.MARK)]
    hashes = {name: sha256((target.path / name).read_bytes()).hexdigest() for name in names}
    plain = {"step": target.step, "generation": target.generation, "world": 1, "sha256": hashes}
    (target.path / store.MANIFEST).write_text(json.dumps(plain))
    (target.path / store.MARK).write_text(sha256((target.path / store.MANIFEST).read_bytes()).hexdigest())


def forge(target: store.Checkpoint) -> None:
    """A manifest of today's form, sealed by somebody without the key."""
    names = [path.name for path in target.path.iterdir() if path.name not in (store.MANIFEST, store.MARK)]
    files = store.hash_files(target.path, names)
    manifest = store.encode_manifest(store.Manifest(target.step, target.generation, 1, files))
    (target.path / store.MANIFEST).write_bytes(manifest)
    store.mark(target, manifest, OTHER)


# --------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize("vouch", [as_an_older_release, forge])
def test_a_program_in_the_metadata_does_not_run(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path, vouch: Callable[..., None]
) -> None:
    ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(4), [1, 3])
    target, trace = store.folder(tmp_path, 3, 1), tmp_path / "it ran"
    (target.path / ".metadata").write_bytes(pickle.dumps(Program("touch", f"'{trace}'")))
    vouch(target)
    answers = ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 1, generation=2)
    for found, damaged, _ in answers:
        assert found == 1
        assert "not sealed by this job's key" in damaged[0]
    assert not trace.exists()


def test_metadata_that_was_exchanged_after_rank_0_looked_is_not_unpickled(tmp_path: Path) -> None:
    target, trace = checkpoint(tmp_path, 3), tmp_path / "it ran"
    (target.path / ".metadata").write_bytes(b"sound")
    store.commit(target, 1, store.hash_files(target.path, [".metadata"]), KEY)
    store.verify(target, KEY)
    (target.path / ".metadata").write_bytes(pickle.dumps(Program("touch", f"'{trace}'")))
    with pytest.raises(store.DamagedError, match=r"hash of \.metadata differs"):
        SealedReader(target, KEY).read_metadata()
    assert not trace.exists()


LOADS = [
    pytest.param(plain_pickle.load_metadata, id="on disk"),
    pytest.param(lambda raw: plain_pickle.MessageUnpickler(io.BytesIO(raw)).load(), id="told by a rank"),
]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(lambda trace: pickle.dumps(Program("touch", trace)), id="os.system"),
        pytest.param(lambda trace: f"cbuiltins\neval\n(Vopen('{trace}','w')\ntR.".encode(), id="eval"),
        pytest.param(
            lambda trace: f"ctorch\nserialization.os.system\n(Vtouch {trace}\ntR.".encode(),
            id="by way of torch",
        ),
        pytest.param(
            lambda trace: (
                b"\x80\x04\x8c\x27torch.distributed.checkpoint.filesystem\x8c\x09os.system\x93\x8c"
                + bytes([len(f"touch {trace}")])
                + f"touch {trace}".encode()
                + b"\x85R."
            ),
            id="by way of an allowed module",
        ),
        pytest.param(lambda trace: f"ctorch\nload\n(V{trace}\ntR.".encode(), id="torch.load"),
        pytest.param(
            lambda trace: f"cbuiltins\ngetattr\n(cpathlib\nPosixPath\nVtouch\ntR(V{trace}\ntR.".encode(),
            id="by way of an attribute",
        ),
    ],
)
def test_a_pickle_of_anything_else_runs_nothing(tmp_path: Path, load, raw) -> None:
    trace = Path("/tmp") / f"ran-{os.getpid()}"
    with contextlib.suppress(pickle.UnpicklingError, TypeError, AttributeError):
        load(raw(str(trace)))
    assert not trace.exists()


ENUM = "torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"


@pytest.mark.parametrize("load", LOADS)
def test_a_member_of_an_enum_is_read_as_any_python_writes_it(load) -> None:
    """By its value, or as early releases of Python 3.11 do, as an attribute of its class."""
    contiguous = getattr(importlib.import_module(ENUM[0]), ENUM[1]).TORCH_CONTIGUOUS_FORMAT
    named = f"c{ENUM[0]}\n{ENUM[1]}\n"
    assert load(pickle.dumps(contiguous)) is contiguous
    assert load(f"{named}(I{contiguous.value}\ntR.".encode()) is contiguous
    assert load(f"cbuiltins\ngetattr\n({named}V{contiguous.name}\ntR.".encode()) is contiguous


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("attribute", ["__class__", "mro", "__members__", "NOBODY"])
def test_no_other_attribute_is_given(load, attribute: str) -> None:
    for kind in (ENUM, ("pathlib", "PosixPath")):
        with pytest.raises(pickle.UnpicklingError, match="belongs in no checkpoint"):
            load(f"cbuiltins\ngetattr\n(c{kind[0]}\n{kind[1]}\nV{attribute}\ntR.".encode())


# ------------------------------------------------------------------------------------- what is gone on from


def test_a_checkpoint_of_another_jobs_is_not_taken(tmp_path: Path) -> None:
    ours = checkpoint(tmp_path, 3)
    checkpoint(tmp_path, 9, 2, OTHER)
    found, passed_over = store.newest_verified(tmp_path, KEY)
    assert found == ours
    assert len(passed_over) == 1


def test_an_old_checkpoint_under_a_newer_name_is_not_taken(tmp_path: Path) -> None:
    old, newer = checkpoint(tmp_path, 3), checkpoint(tmp_path, 9)
    shutil.copytree(old.path, store.folder(tmp_path, 99, 7).path)
    found, passed_over = store.newest_verified(tmp_path, KEY)
    assert found == newer
    assert passed_over[0].endswith("step-99-generation-7: is step 3 of generation 1")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", ""])
def test_a_manifest_names_no_file_out_of_its_folder(name: str) -> None:
    plain = {"step": 1, "generation": 1, "world": 1, "files": {name: {"bytes": 1, "sha256": ""}}}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(plain), type=store.Manifest)


def test_where_only_an_unsealed_checkpoint_is_nothing_begins_anew(tmp_path: Path) -> None:
    as_an_older_release(checkpoint(tmp_path, 3))
    with pytest.raises(store.UnsealedError, match="sentinel seal-checkpoints") as caught:
        store.newest_verified(tmp_path, KEY)
    assert "\n" not in str(caught.value)
    found, passed_over = store.newest_verified(tmp_path, KEY, above=1)
    assert (found, len(passed_over)) == (None, 1), "there is a snapshot to go back to"


def test_all_ranks_learn_that_a_checkpoint_is_unsealed(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path
) -> None:
    ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(2), [1])
    as_an_older_release(store.folder(tmp_path, 1, 1))
    with pytest.raises(store.UnsealedError):
        ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 1, generation=2)


def test_planted_checkpoints_take_no_place_from_real_ones(tmp_path: Path) -> None:
    written = [checkpoint(tmp_path, step) for step in (10, 20)]
    for step in (97, 98, 99):
        as_an_older_release(checkpoint(tmp_path, step, 9, OTHER))
        shutil.copytree(written[0].path, store.folder(tmp_path, step, 10).path)
    newest = checkpoint(tmp_path, 30)
    store.retain(newest, 2, KEY)
    assert store.newest_verified(tmp_path, KEY)[0] == newest
    assert [each.committed for each in (newest, *written)] == [True, False, True]


@pytest.mark.parametrize(
    "content", [b"", b"99", b"9" * 200, b"99 " + b"0" * 64, b"-5 x", b"\xff\xfe", b"1 2 3", b"x" * 10_000_000]
)
def test_a_fence_that_the_job_has_not_sealed_stops_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / store.FENCE).write_bytes(content)
    store.claim(tmp_path, 3, KEY)
    with pytest.raises(store.StaleGenerationError):
        store.claim(tmp_path, 2, KEY)


# ------------------------------------------------------------------------------ links, FIFOs, absurd sizes


def fifo(path: Path, _victim: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path, victim: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(victim)


def endless(path: Path, _victim: Path) -> None:
    os.truncate(path, 1 << 42)


def device(path: Path, _victim: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", [store.MARK, store.MANIFEST, "__0_0.distcp"])
@pytest.mark.parametrize("plant", [fifo, link, endless, device])
def test_what_is_no_file_or_has_another_size_is_passed_over(
    tmp_path: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    older, newer = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    plant(newer.path / name, victim)
    found, passed_over = store.newest_verified(tmp_path, KEY)
    assert found == older
    assert len(passed_over) == 1


@pytest.mark.parametrize("plant", [fifo, link])
def test_a_fence_is_never_written_through_a_link(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in (store.FENCE, f"{store.FENCE}.tmp"):
        plant(tmp_path / name, victim)
    with pytest.raises(private.NotPrivateError):
        store.claim(tmp_path, 3, KEY)
    assert victim.read_bytes() == b"precious"


def test_a_save_goes_into_no_folder_that_was_there_before(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = store.folder(tmp_path / "checkpoints", 1, 1).path
    planted.mkdir(parents=True)
    for rank in (0, 1):
        (planted / f"__{rank}_0.distcp").symlink_to(victim)
    for _, error in ranks.run(
        scenarios.losses_with_saves, 2, settings, tmp_path / "checkpoints", range(2), [1]
    ):
        assert "File exists" in error
    assert victim.read_bytes() == b"precious"


def test_checkpoints_are_nobody_elses_to_read(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path
) -> None:
    ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path / "new", range(2), [1])
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert store.folder(tmp_path / "new", 1, 1).path.stat().st_mode & 0o077 == 0


def test_a_link_that_leads_out_is_no_checkpoint_and_is_not_emptied(tmp_path: Path) -> None:
    elsewhere = checkpoint(tmp_path / "elsewhere", 5, key=OTHER)
    (tmp_path / "job").mkdir()
    store.folder(tmp_path / "job", 5, 1).path.symlink_to(elsewhere.path)
    assert store.folders(tmp_path / "job") == []
    store.retain(checkpoint(tmp_path / "job", 9), 1, KEY)
    assert elsewhere.committed


# ---------------------------------------------------------------------------------- accepting what is older


def test_what_people_have_looked_at_is_sealed_and_taken(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path
) -> None:
    saved = ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(6), [1])[0][0]
    as_an_older_release(store.folder(tmp_path, 1, 1))
    (found,) = accept.candidates(tmp_path, b"")
    assert isinstance(found, accept.Candidate)
    assert "whole and not sealed" in str(found)
    accept.seal(found, b"")
    assert list(accept.candidates(tmp_path, b"")) == []
    for step, damaged, losses in ranks.run(
        scenarios.losses_from_checkpoint, 2, settings, tmp_path, 4, generation=2
    ):
        assert (step, list(damaged), losses) == (1, [], saved[2:])


def test_what_was_sealed_by_a_lost_head_nodes_keys_can_be_sealed_anew(tmp_path: Path) -> None:
    target = checkpoint(tmp_path, 3, key=OTHER)
    (found,) = accept.candidates(tmp_path, KEY)
    assert isinstance(found, accept.Candidate)
    accept.seal(found, KEY)
    assert store.newest_verified(tmp_path, KEY) == (target, [])


def test_what_is_damaged_is_not_sealed(tmp_path: Path) -> None:
    target = checkpoint(tmp_path, 3)
    as_an_older_release(target)
    os.truncate(target.path / "__0_0.distcp", 10)
    assert list(accept.candidates(tmp_path, KEY)) == [f"{target.path}: hash of __0_0.distcp differs"]
