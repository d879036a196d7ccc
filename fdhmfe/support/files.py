"""Files that are either whole or absent: atomic writes, build-once folders, content hashes."""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from safetensors import SafetensorError

GUARD = (
    "each worker process runs this script again, and here it would start the same work: put what "
    "the script does under  if __name__ == '__main__':"
)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
REFUSED = {errno.EACCES, errno.EPERM}


class StorageError(OSError):
    """A place cannot be written: the disk is full, read-only, or not ours to write."""


def storage_error(path: Path, code: int) -> StorageError:
    """The error for a `path` that the system refuses to write, with what to do about it."""
    return StorageError(
        code,
        f"{path} cannot be written ({os.strerror(code)}): make room or make the folder writable, "
        "or choose another one, then run the same again; finished runs and checkpoints are kept",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the block, a failure to write to `path` or beside it becomes a StorageError.

    Errors of other places, such as a file that cannot be read, stay as they are.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        code = error_number(error)
        here = str(getattr(error, "filename", None)).startswith(str(path.parent))
        if code in FULL or (code in REFUSED and here):
            raise storage_error(path, code) from error
        raise


def error_number(error: Exception) -> int | None:
    """The errno of an error. safetensors gives it in its message; NumPy's message implies it."""
    if re.search(r"\d+ requested and \d+ written", str(error)):
        return errno.ENOSPC
    named = re.search(r"os error (\d+)", str(error))
    return int(named[1]) if named else getattr(error, "errno", None)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; StorageError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error.errno or errno.EIO) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, after waiting for the process that has it; kill -9 frees it.

    Raises RuntimeError where that would last for ever: the other process is the one that starts
    this one, and the script that both run does its work while it is imported.
    """
    make_folder(path.parent)
    lock = FileLock(path)
    with writing(path):
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself asks
                raise RuntimeError(GUARD) from None
            print(f"waiting for another process, which holds {path}", flush=True)
            held = lock.acquire()
    with held:
        yield


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds.

    A killed process leaves `path` as it was. The temporary name carries machine and process, so two
    writers never share it; it is removed when the block fails or, after a kill, by the next writer.
    Whoever writes it, the file gets the permissions that the umask says. Raises StorageError where
    the disk is full or the folder cannot be written.
    """
    path = Path(path)
    stem = f".{path.name}.{platform.node()}"
    partial = path.with_name(f"{stem}.{os.getpid()}.partial")
    make_folder(path.parent)
    with writing(path):
        for left in path.parent.glob(f"{escape(stem)}.*.partial"):
            if not psutil.pid_exists(int(left.name.split(".")[-2])):
                left.unlink(missing_ok=True)
        try:
            mode = fresh_mode(partial)
            yield partial
            with open(partial, "rb+") as handle:
                os.fsync(handle.fileno())
            os.chmod(partial, mode)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def fresh_mode(path: Path) -> int:
    """The permissions of a new, empty file at `path`: those that the umask says.

    Libraries that write to a file of their own and rename it, as safetensors does, make it private.
    """
    path.unlink(missing_ok=True)
    path.touch()
    return stat.S_IMODE(path.stat().st_mode)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic(path) as partial:
        partial.write_bytes(json_bytes(content))


def json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ValueError naming the file when it does not parse."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run again") from error


@contextmanager
def readable(path: Path, advice: str, *, or_else: str = "") -> Iterator[None]:
    """Within the block, a missing or damaged `path` becomes a ValueError, which gives the advice.

    or_else: what may be the matter in place of damage, as in ", or of another version". A file that
    the system refuses to read may be whole: that error stays as it is.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: {advice}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged file raises anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is damaged{or_else} ({reason}): {advice}") from error


def read_record(path: Path, names: Iterable[str], advice: str) -> dict[str, Any]:
    """The JSON object in a file, which must have these names. Errors as in `readable`."""
    with readable(path, advice):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("it is no JSON object")
        if missing := [name for name in names if name not in stored]:
            raise ValueError(f"it lacks {', '.join(missing)}")
    return stored


def build_once(folder: Path, build: Callable[[Path], None], *, resume: bool = False) -> Path:
    """Return `folder`, first making it with `build(partial_folder)` if it does not exist.

    One process builds while others wait on a lock file; the folder appears only when complete.
    What a killed build left is wiped, or handed to `build` again when `resume` is set. Raises
    StorageError as `atomic` does.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    with locked(folder.with_name(f"{folder.name}.lock")), writing(folder):
        if folder.exists():
            return folder
        partial = folder.with_name(f"{folder.name}.partial")
        if not resume:
            for left in folder.parent.glob(f"{escape(folder.name)}.*partial"):
                shutil.rmtree(left, ignore_errors=True)
            # A name of our own: workers of a killed build may still write to the old folder.
            partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        partial.mkdir(exist_ok=True)
        try:
            build(partial)
        except BaseException:
            if not resume:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        open_to_others(partial)
        os.replace(partial, folder)
    return folder


def open_to_others(folder: Path) -> None:
    """Give all files below a folder the permissions that the umask says: see `fresh_mode`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    probe = folder / ".mode"
    mode = fresh_mode(probe)
    probe.unlink()
    for path in files:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            os.chmod(path, mode)


def reserve(path: Path) -> None:
    """Give a sparse file its room on disk: a full disk is an error here, not a crash later.

    Writing to a memory map of a file that the disk has no room for kills the process (SIGBUS).
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "rb+") as handle:
            os.posix_fallocate(handle.fileno(), 0, os.path.getsize(path))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_hash(*parts: Any) -> str:
    """A short hexadecimal name (16 characters) for anything JSON can hold."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
