"""Files and folders are whole or absent, whatever happens on the way."""

import errno
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fdhmfe.support.files import (
    StorageError,
    atomic,
    build_once,
    content_hash,
    file_hash,
    locked,
    read_json,
    reserve,
    write_json,
)
from fdhmfe.support.places import REPOSITORY


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_makes_the_parents_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a" / "b" / "table.csv"
    with atomic(target) as partial:
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["table.csv"]


@pytest.mark.parametrize("written", ["", "half"])
def test_atomic_keeps_the_old_file_when_the_block_fails(tmp_path, written):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(KeyError, match="on the way"), atomic(target) as partial:
        if written:
            partial.write_text(written)
        raise KeyError("on the way")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_atomic_writers_do_not_share_a_partial_file(tmp_path):
    with atomic(tmp_path / "table.csv") as partial:
        partial.touch()
        assert str(os.getpid()) in partial.name


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with atomic(tmp_path / "table.csv") as partial:
        partial.touch()
        ours = str(os.getpid())
        others = [partial.name.replace(ours, str(pid)) for pid in (dead.pid, os.getppid())]
        elsewhere = partial.name.replace(platform.node(), "elsewhere")
        for name in (*others, elsewhere):
            (tmp_path / name).touch()
        with atomic(tmp_path / "other.csv") as other:
            other.touch()
        assert len(names(tmp_path)) == 5
    with atomic(tmp_path / "table.csv") as partial:
        partial.touch()
    assert names(tmp_path) == sorted([others[1], elsewhere, "other.csv", "table.csv"])


@pytest.fixture(params=[0o022, 0o077], ids=oct)
def umask(request) -> Iterator[int]:
    """The umask of this process, for as long as a test takes."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def write_private(path: Path) -> None:
    """What a library leaves that renames a temporary file of its own, which only we may read."""
    save_file({"a": torch.zeros(1)}, path)
    os.chmod(path, 0o600)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("write", [Path.touch, write_private])
def test_files_have_the_permissions_that_the_umask_says(tmp_path, umask, write):
    def build(partial: Path) -> None:
        (partial / "deep").mkdir()
        write(partial / "deep" / "file")

    with atomic(tmp_path / "file") as partial:
        write(partial)
    folder = build_once(tmp_path / "folder", build)
    (tmp_path / "opened").touch()
    assert names(folder) == ["deep"]
    for path in (tmp_path / "file", folder / "deep" / "file", tmp_path / "opened"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_json_round_trip_and_a_broken_file_is_named(tmp_path):
    path = tmp_path / "env.json"
    write_json(path, {"b": [1, 2.5, None], "a": "ö"})
    assert read_json(path) == {"a": "ö", "b": [1, 2.5, None]}
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match=r"env\.json is not valid JSON"):
        read_json(path)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "env.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert names(tmp_path) == ["env.json"]


def test_build_once_builds_once(tmp_path):
    calls = []

    def build(partial: Path) -> None:
        calls.append(partial)
        assert not (tmp_path / "deep" / "cache").exists()
        (partial / "x").write_text("done")

    for _ in range(2):
        folder = build_once(tmp_path / "deep" / "cache", build)
        assert names(folder) == ["x"]
    assert len(calls) == 1


@pytest.mark.parametrize(("resume", "expected"), [(False, ["new"]), (True, ["new", "stale"])])
def test_what_a_killed_build_left_is_wiped_or_handed_over(tmp_path, resume, expected):
    stale = tmp_path / "cache.partial" / "stale"
    stale.parent.mkdir()
    stale.touch()
    folder = build_once(tmp_path / "cache", lambda p: (p / "new").touch(), resume=resume)
    assert names(folder) == expected
    assert not stale.parent.exists()


def test_a_build_that_raises_leaves_no_folder_and_can_be_tried_again(tmp_path):
    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        build_once(tmp_path / "cache", fail)
    assert not (tmp_path / "cache").exists()
    build_once(tmp_path / "cache", lambda p: (p / "whole").touch())
    assert names(tmp_path / "cache") == ["whole"]


def test_processes_that_race_build_once_and_all_get_the_folder(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from fdhmfe.support.files import build_once

        root = Path(sys.argv[1])

        def build(partial):
            with open(root / "builds.log", "a") as log:
                log.write("built\\n")
            time.sleep(0.5)
            (partial / "x").write_text("whole")

        (root / f"ready-{sys.argv[2]}").touch()
        while len(list(root.glob("ready-*"))) < 3:
            time.sleep(0.01)
        print((build_once(root / "cache", build) / "x").read_text())
    """)
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    racers = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True, env=environment)
        for i in range(3)
    ]
    said = [racer.communicate(timeout=60)[0].splitlines() for racer in racers]
    assert [lines[-1] for lines in said] == ["whole"] * 3
    assert (tmp_path / "builds.log").read_text() == "built\n"


def test_what_a_worker_of_a_killed_build_still_writes_is_in_nobodys_way(tmp_path):
    stale = tmp_path / "cache.1.partial"
    stale.mkdir()

    def build(partial: Path) -> None:
        assert not stale.exists()
        stale.mkdir()  # by a process that has outlived the killed one
        (stale / "x").touch()
        (partial / "x").write_text("whole")

    assert names(build_once(tmp_path / "cache", build)) == ["x"]


# Places that cannot be written


def write_array(path: Path) -> None:
    with atomic(path) as partial, open(partial, "wb") as file:
        np.save(file, np.zeros(300_000))


def write_text(path: Path) -> None:
    with atomic(path) as partial:
        partial.write_text("x" * 2_000_000)


def write_tensors(path: Path) -> None:
    with atomic(path) as partial:
        save_file({"x": torch.zeros(600_000)}, partial)


def write_sparse(path: Path) -> None:
    def build(partial: Path) -> None:
        np.lib.format.open_memmap(partial / "x.npy", mode="w+", dtype=np.float64, shape=(300_000,))
        reserve(partial / "x.npy")

    build_once(path, build)


WRITERS = (write_array, write_text, write_tensors, write_sparse)


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(small_disk, write):
    write_json(small_disk / "finished.json", 1)
    with pytest.raises(StorageError, match=r"disk/new.* cannot be written \(No space left") as at:
        write(small_disk / "new")
    assert "finished runs and checkpoints are kept" in str(at.value)
    assert {"finished.json"} <= set(names(small_disk)) <= {"finished.json", "new.lock"}
    assert read_json(small_disk / "finished.json") == 1


def test_a_read_only_disk_is_one_clear_error(small_disk):
    write_json(small_disk / "finished.json", 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for write in (*WRITERS, lambda path: locked(path / "lock").__enter__()):
        with pytest.raises(StorageError, match=r"cannot be written \(Read-only file system"):
            write(small_disk / "new")
    assert build_once(small_disk / "finished.json", pytest.fail) == small_disk / "finished.json"


def test_a_limit_on_file_size_is_one_clear_error(tmp_path):
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from fdhmfe.support.files import StorageError, write_json

        write_json(Path("old.json"), "finished")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_json(Path("old.json"), "x" * 2000)
        except StorageError as error:
            print(error)
    """)
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "old.json cannot be written (File too large)" in done.stdout, done.stderr
    assert names(tmp_path) == ["old.json"]
    assert read_json(tmp_path / "old.json") == "finished"


def test_a_folder_below_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    for write in (*WRITERS, lambda path: locked(path / "lock").__enter__()):
        with pytest.raises(StorageError, match=r"file/.*cannot be written \(Not a directory"):
            write(tmp_path / "file" / "results" / "new")


def test_what_cannot_be_read_on_the_way_keeps_its_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), atomic(tmp_path / "new"):
        (tmp_path / "absent").read_text()
    with pytest.raises(PermissionError, match="secret"), atomic(tmp_path / "new"):
        raise PermissionError(errno.EACCES, "no", "/elsewhere/secret")


def test_hashes_follow_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea")  # FIPS 180-2, example B.1
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert len({content_hash(1), content_hash("1"), content_hash([1]), content_hash(1, None)}) == 4
