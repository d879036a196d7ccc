"""Download one big file over a bad connection: resume, retry, compare the checksum, then rename.

What has arrived is kept in `<name>.partial`, so a killed download continues where it stopped.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import requests
from filelock import FileLock
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from fdhmfe.support.files import atomic
from fdhmfe.support.progress import progress

PIECE, MEBIBYTE = 2**14, 2**20
TIMEOUT = (20.0, 60.0)  # seconds: to connect, and to wait for the next byte
ATTEMPTS = 6  # attempts in a row without a new byte; set by hand, like the times
WAIT = wait_exponential_jitter(initial=1, max=60)  # seconds


class DownloadError(OSError):
    """A file cannot be fetched, or is not the one expected; the message says what to do."""


class Interrupted(OSError):
    """The transfer broke off; what has arrived is kept."""


PASSING = (
    Interrupted,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


def fetch(url: str, target: Path, *, checksum: str = "", size: int = 0) -> str:
    """Download `url` to `target`, unless it is there; returns how it was checked (see `verify`).

    A file that fails its checksum is deleted and fetched once more, because a resumed file may be
    mixed from two versions. Raises DownloadError.
    """
    partial = target.with_name(f"{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.exists():
            return verify(target, checksum, size)
        for last in (False, True):
            persist(url, partial, size)
            try:
                known = verify(partial, checksum, size)
                break
            except DownloadError:
                discard(partial)
                if last:
                    raise
                print(f"{target.name} does not match its checksum: fetching it anew", flush=True)
        os.replace(partial, target)
        discard(partial)
        return known


def persist(url: str, partial: Path, size: int) -> None:
    """Try until the file is complete; DownloadError after ATTEMPTS tries without a new byte."""
    before = -1
    while arrived(partial) > before:
        before = arrived(partial)
        retrying = Retrying(
            retry=retry_if_exception_type(PASSING),
            stop=stop_after_attempt(ATTEMPTS),
            wait=WAIT,
            before_sleep=say,
            reraise=True,
        )
        try:
            return retrying(append_rest, url, partial, size)
        except PASSING as error:
            cause = error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DownloadError(f"the disk is full; {keeps(partial)}") from error
            raise
    raise DownloadError(f"{url} cannot be fetched ({cause}); {keeps(partial)}")


def append_rest(url: str, partial: Path, size: int) -> None:
    """One request for what `partial` still lacks. Raises one of PASSING, or DownloadError.

    The header `If-Range` asks for the rest only if the file on the server has not changed. If it
    has, or if the server cannot resume, the whole file is sent again.
    """
    version = version_of(partial)
    mark = version.read_text() if version.exists() else ""
    have = arrived(partial) if mark else 0
    # "identity": else requests would unpack a .gz. Some servers refuse clients without a name.
    headers = {"Accept-Encoding": "identity", "User-Agent": "fdhmfe"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        refuse(answer)
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                return  # it is whole: it was killed just before the renaming
            discard(partial)
            raise Interrupted("the file has changed on the server: starting over")
        if answer.status_code != requests.codes.partial_content:
            have = 0  # the server sends the whole file
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            discard(partial)
            raise Interrupted("the server sent another part: starting over")
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else size
        if size and total != size:
            raise DownloadError(
                f"{url} has {total:,} bytes, not the published {size:,}: is there a new version?"
            )
        make_room(partial, total - have)
        with open(partial, "ab" if have else "wb") as file:
            if not have:  # only now, when the old bytes are gone
                version.write_text(mark_of(answer.headers))
            steps = max(0, total - have) // MEBIBYTE
            for _ in progress(save(answer, file), f"{partial.stem}, MiB", total=steps):
                pass
    if total and arrived(partial) != total:
        raise Interrupted(f"{arrived(partial):,} of {total:,} bytes came")


def save(answer: requests.Response, file: BinaryIO) -> Iterator[None]:
    """Write the answer in pieces (a broken piece is lost); yields after each mebibyte."""
    for number, piece in enumerate(answer.iter_content(PIECE), 1):
        file.write(piece)
        if number % (MEBIBYTE // PIECE) == 0:
            yield


def refuse(answer: requests.Response) -> None:
    """Raise Interrupted for a status that may be temporary, DownloadError for a lasting one."""
    code = answer.status_code
    if code == requests.codes.too_many_requests or code >= 500:
        raise Interrupted(f"HTTP {code}")
    if 400 <= code < 500 and code != requests.codes.requested_range_not_satisfiable:
        raise DownloadError(f"{answer.url}: HTTP {code}; fetch it by hand if it has moved")


def version_of(partial: Path) -> Path:
    """The file that holds the version mark (see `mark_of`) of what is in `partial`."""
    return partial.with_name(f"{partial.name}.etag")


def discard(partial: Path) -> None:
    """Remove what has arrived, and its version mark."""
    for path in (partial, version_of(partial)):
        path.unlink(missing_ok=True)


def mark_of(headers: Mapping[str, str]) -> str:
    """A mark of the file's version: strong ETag, else date. Empty: a download cannot be resumed."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified", "") if etag.startswith("W/") else etag


def make_room(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise DownloadError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are to come: "
            "free some space or choose another folder"
        )


def arrived(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def keeps(partial: Path) -> str:
    return f"{arrived(partial):,} bytes are kept in {partial}: run the same command again"


def say(state: RetryCallState) -> None:
    """Print why the transfer broke off, and when the next try starts."""
    assert state.outcome and state.next_action  # both are set when a try has failed
    cause, seconds = state.outcome.exception(), state.next_action.sleep
    print(f"broken off ({cause}); next try in {seconds:.0f} s", flush=True)


def verify(path: Path, checksum: str, size: int = 0) -> str:
    """Check size and checksum of a file; returns how. DownloadError if it is not the one expected.

    If no checksum is published, the SHA-256 of the first copy is written to `<name>.sha256` beside
    it, in the form of sha256sum. Later copies are compared with that.
    """
    if size and path.stat().st_size != size:
        raise DownloadError(f"{path} has {path.stat().st_size:,} bytes, not {size:,}")
    name = path.name.removesuffix(".partial")
    record = path.with_name(f"{name}.sha256")
    known = checksum or (f"sha256:{record.read_text().split()[0]}" if record.exists() else "")
    algorithm, _, expected = (known or "sha256:").partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if expected and found != expected:
        origin = "" if checksum else f" (recorded in {record.name}; is there a new version?)"
        raise DownloadError(f"{path} has {algorithm} {found}, not {expected}{origin}: delete it")
    if checksum:
        return f"{algorithm} as published"
    if expected:
        return "sha256 as recorded at first sight; none is published"
    with atomic(record) as unfinished:
        unfinished.write_text(f"{found}  {name}\n")
    return f"no checksum is published; sha256 {found} recorded in {record.name}"
