"""Download one big file over a bad connection: resume, retry, check, then rename.

What has arrived is kept in `<name>.partial`, so a killed download continues where it stopped.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import BinaryIO

import requests
from requests import codes
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader

from fdhmfe.data.fetch.verify import DownloadError, fault, proof, verify
from fdhmfe.support.files import locked, writing
from fdhmfe.support.progress import progress
from fdhmfe.support.sniff import HEAD, described

# All set by hand
PIECE, MEBIBYTE = 2**14, 2**20
TIMEOUT = (20.0, 60.0)  # seconds: to connect, and to wait for the next byte
LEAST, STRETCH = 2**16, 60.0  # a try ends if fewer bytes come in so many seconds: about 1 kB/s
MOST = 2**36  # bytes of a file whose size nobody says
ATTEMPTS = 6  # attempts in a row without a new byte
WAIT = wait_exponential_jitter(initial=1, max=60)  # seconds
LONGEST = 600.0  # seconds: if a server asks for a longer wait, the user decides


class Interrupted(OSError):
    """The transfer broke off; what has arrived is kept. `wait`: seconds the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class TooSlow(Interrupted):
    """Fewer than LEAST bytes came in STRETCH seconds."""


PASSING = (Interrupted, requests.ConnectionError, requests.Timeout)


def fetch(url: str, target: Path, *, checksum: str = "", size: int = 0) -> str:
    """Download `url` to `target`, unless it is there; returns how it was checked (see `verify`).

    A file that is not the one expected is deleted and fetched once more, because a resumed file may
    be mixed from two versions. Raises DownloadError, or StorageError for a full disk.
    """
    partial = target.with_name(f"{target.name}.partial")
    with locked(target.with_name(f".{target.name}.lock")):
        if target.exists():
            return verify(target, checksum, size)
        with writing(partial):
            persist(url, partial, size)
            if reason := fault(partial, checksum, size):
                print(f"what came {reason}: fetching it anew", flush=True)
                discard(partial)
                persist(url, partial, size)
            if reason := fault(partial, checksum, size):
                discard(partial)
                raise DownloadError(
                    f"what {url} sends {reason}: nothing of it is kept; if it has moved, fetch it "
                    "by hand"
                )
            os.replace(partial, target)
            discard(partial)
        return proof(target, checksum)


def persist(url: str, partial: Path, size: int) -> None:
    """Try until the file is complete; DownloadError after ATTEMPTS tries without a new byte."""
    before, cause = -1, Exception()
    while arrived(partial) > before and not isinstance(cause, TooSlow):
        before = arrived(partial)
        retrying = Retrying(
            retry=retry_if_exception_type(PASSING),
            stop=stop_after_attempt(ATTEMPTS),
            wait=pause,
            before_sleep=say,
            reraise=True,
        )
        try:
            return retrying(append_rest, url, partial, size)
        except PASSING as error:
            cause = error
        except requests.RequestException as error:  # a redirect without end, an odd address
            raise DownloadError(f"{url} cannot be fetched ({error})") from error
    raise DownloadError(f"{url} cannot be fetched ({cause}); {keeps(partial)}")


def append_rest(url: str, partial: Path, size: int) -> None:
    """One request for what `partial` still lacks. Raises one of PASSING, or DownloadError.

    The header `If-Range` asks for the rest only if the file on the server has not changed. If it
    has, or if the server cannot resume, the whole file is sent again.
    """
    mark, _ = version(partial)
    have = arrived(partial) if mark else 0
    # "identity": a .gz is wanted as it is. Some servers refuse clients without a name.
    headers = {"Accept-Encoding": "identity", "User-Agent": "fdhmfe"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        refuse(url, answer)
        if answer.status_code == codes.requested_range_not_satisfiable:
            if have and answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                return  # it is whole: it was killed just before the renaming
            discard(partial)
            raise Interrupted("the file has changed on the server: starting over")
        have, total = extent(answer, partial, have)
        if size and total and total != size:
            raise DownloadError(
                f"{url} has {total:,} bytes, not the published {size:,}: is there a new version?"
            )
        total = total or size
        receive(answer, partial, have, total)
    if total and arrived(partial) != total:
        raise Interrupted(f"{arrived(partial):,} of {total:,} bytes came")


def receive(answer: requests.Response, partial: Path, have: int, total: int) -> None:
    """Write an answer that goes on from byte `have` of `total`; 0: nobody says how many."""
    room = make_room(partial, total - have)
    limit = total or min(MOST, have + room)
    pieces = wire(answer)
    head = beginning(pieces)
    if not head:
        raise Interrupted("nothing came")
    if not have:  # only now, when what came is known, the old bytes may go
        refuse_page(answer, head)
        version_file(partial).write_text(f"{mark_of(answer.headers)}\n{total}", "utf-8")
    with open(partial, "ab" if have else "wb") as file:
        steps = max(0, total - have) // MEBIBYTE
        saved = save(chain([head], pieces), file, limit)
        for _ in progress(saved, f"{partial.stem}, MiB", total=steps):
            pass
    if arrived(partial) > limit:
        discard(partial)
        raise DownloadError(f"{answer.url} sends more than {limit:,} bytes: nothing of it is kept")


def refuse(url: str, answer: requests.Response) -> None:
    """Raise Interrupted for a status that may be temporary, DownloadError for a lasting one."""
    code = answer.status_code
    if url.startswith("https:") and not all(
        step.url.startswith("https:") for step in (*answer.history, answer)
    ):
        raise DownloadError(f"{url} leads to {answer.url}, which is not encrypted: not fetched")
    if code in (codes.too_many_requests, codes.request_timeout) or code >= 500:
        wait = wait_asked(answer.headers)
        if wait > LONGEST:
            raise DownloadError(
                f"{url}: HTTP {code}, and the server asks to wait more than {LONGEST / 60:.0f} "
                "minutes: run the same command again later; what has arrived is kept"
            )
        raise Interrupted(f"HTTP {code}", wait)
    if code not in (codes.ok, codes.partial_content, codes.requested_range_not_satisfiable):
        raise DownloadError(f"{answer.url}: HTTP {code}; fetch it by hand if it has moved")


def refuse_page(answer: requests.Response, head: bytes) -> None:
    """DownloadError if a body that begins with `head` is a page or other text, not an archive."""
    if page := described(head):
        kind = answer.headers.get("Content-Type", "of no said type")
        raise DownloadError(
            f"{answer.url} sends {page} ({kind}), not an archive: nothing of it is kept; open the "
            "address in a browser to see what it asks for, or fetch the file by hand"
        )


def extent(answer: requests.Response, partial: Path, have: int) -> tuple[int, int]:
    """From which byte on the answer goes, and how many the whole file has; 0: it does not say.

    Discards what is in `partial` and raises Interrupted if the answer does not continue that.
    """
    length = answer.headers.get("Content-Length", "")
    sent = int(length) if re.fullmatch(r"\d+", length) else 0
    if answer.status_code != codes.partial_content:
        return 0, sent  # the whole file
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if part and int(part[1]) == have:
        total = int(part[2]) if part[2] != "*" else sent and have + sent
        if total == (version(partial)[1] or total):
            return have, total
    discard(partial)
    raise Interrupted("the server sent a part of something else: starting over")


def wire(answer: requests.Response) -> Iterator[bytes]:
    """The body as it comes, in pieces; a Content-Encoding is left as it is. Raises Interrupted."""
    came, since = 0, time.monotonic()
    while True:
        try:
            piece = answer.raw.read1(PIECE, decode_content=False)
        except HTTPError as error:
            raise Interrupted(str(error.args[0])) from error
        if not piece:
            return
        yield piece
        came += len(piece)
        if time.monotonic() - since > STRETCH:
            if came < LEAST:
                raise TooSlow(f"only {came:,} bytes came in {STRETCH:.0f} s")
            came, since = 0, time.monotonic()


def beginning(pieces: Iterator[bytes]) -> bytes:
    """The first HEAD bytes or more; fewer only if no more come."""
    head = b""
    while len(head) < HEAD and (piece := next(pieces, b"")):
        head += piece
    return head


def save(pieces: Iterable[bytes], file: BinaryIO, limit: int) -> Iterator[None]:
    """Write until the file has more than `limit` bytes; yields after each mebibyte."""
    for piece in pieces:
        before = file.tell()
        file.write(piece)
        yield from repeat(None, file.tell() // MEBIBYTE - before // MEBIBYTE)
        if file.tell() > limit:
            return


def version(partial: Path) -> tuple[str, int]:
    """The version mark (see `mark_of`) and full size of what is in `partial`; 0: not known."""
    place = version_file(partial)
    mark, _, total = place.read_text("utf-8").partition("\n") if place.exists() else ("", "", "")
    return mark, int(total) if total.isdecimal() else 0


def version_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.etag")


def discard(partial: Path) -> None:
    """Remove what has arrived, and its version mark."""
    for path in (partial, version_file(partial)):
        path.unlink(missing_ok=True)


def mark_of(headers: Mapping[str, str]) -> str:
    """A mark of the file's version: strong ETag, else date. Empty: a download cannot be resumed."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified", "") if etag.startswith("W/") else etag


def make_room(partial: Path, needed: int) -> int:
    """The bytes that are free for `partial`; DownloadError if more are needed."""
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise DownloadError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are to come: "
            "free some space or choose another folder"
        )
    return free


def arrived(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def keeps(partial: Path) -> str:
    return f"{arrived(partial):,} bytes are kept in {partial}: run the same command again"


def wait_asked(headers: Mapping[str, str]) -> float:
    """Seconds that the header Retry-After asks for, a number or a date; 0 if it is not readable."""
    with suppress(InvalidHeader, ValueError, OverflowError):
        return Retry().parse_retry_after(headers.get("Retry-After", "0"))
    return 0.0


def pause(state: RetryCallState) -> float:
    """Seconds until the next try: longer after each, and no shorter than the server asks for."""
    cause = state.outcome.exception() if state.outcome else None
    return max(WAIT(state), getattr(cause, "wait", 0.0))


def say(state: RetryCallState) -> None:
    """Print why the transfer broke off, and when the next try starts."""
    assert state.outcome and state.next_action  # both are set when a try has failed
    cause, seconds = state.outcome.exception(), state.next_action.sleep
    print(f"broken off ({cause}); next try in {seconds:.0f} s", flush=True)
