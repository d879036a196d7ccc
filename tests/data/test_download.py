"""Downloads from a server that truncates, stalls, restarts and lies; then what is unpacked."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
from loopback import (
    Site,
    archive,
    busy,
    drip,
    endless,
    hang_up,
    lie,
    packed_again,
    part,
    reply,
    served,
    stall,
    truncate,
)
from tenacity import wait_fixed, wait_none

from fdhmfe.data.fetch import download
from fdhmfe.data.fetch.download import fetch
from fdhmfe.data.fetch.verify import DownloadError, record, verify
from fdhmfe.support.places import REPOSITORY

CONTENT, OTHER = archive(0), archive(1)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "WAIT", wait_none())
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))
    monkeypatch.setattr(download, "STRETCH", 0.2)


@pytest.fixture
def site():
    with served(Site({"birds.tgz": CONTENT})) as site:
        yield site


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "birds.tgz"


def test_plain_download(site, target):
    fetch(site.url("birds.tgz"), target, checksum=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert site.asked == [("/birds.tgz", "")]
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert len(site.asked) == 1, "what is there is not fetched again"
    assert [p for p in target.parent.iterdir() if p.suffix != ".lock"] == [target]


@pytest.mark.parametrize("fault", [truncate, stall])
def test_broken_transfer_goes_on_where_it_stopped(site, target, fault):
    site.faults = [fault] * 3
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    resumed = [f"bytes={number * 2**16}-" for number in (1, 2, 3)]
    assert [wanted for _, wanted in site.asked] == ["", *resumed]


def test_many_more_breaks_than_tries_in_a_row(site, target):
    site.faults = [truncate] * (3 * download.ATTEMPTS)
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT


def test_server_that_cannot_resume_sends_it_all_again(site, target):
    site.faults, site.ranges = [truncate] * 2, False
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT


def test_nothing_is_resumed_without_a_version_to_ask_for(site, target):
    site.faults, site.etag = [truncate], ""
    fetch(site.url("birds.tgz"), target)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == ["", ""]


def test_file_that_changes_on_the_server_is_not_stitched(site, target):
    def change(handler, body):
        truncate(handler, body)
        site.content["birds.tgz"], site.etag = OTHER, '"2"'

    site.faults = [change]
    fetch(site.url("birds.tgz"), target)
    assert target.read_bytes() == OTHER


def test_server_that_restarts(target, monkeypatch):
    monkeypatch.setattr(download, "WAIT", wait_fixed(0.3))
    site = Site({"birds.tgz": CONTENT}, faults=[truncate])
    with served(site):
        thread = threading.Thread(
            target=fetch, args=(site.url("birds.tgz"), target), kwargs={"checksum": SHA256}
        )
        thread.start()
        while not site.asked:
            time.sleep(0.01)
    time.sleep(0.4)  # down: connections are refused
    with served(site):
        thread.join(timeout=30)
    assert target.read_bytes() == CONTENT
    assert site.asked[-1] == ("/birds.tgz", "bytes=65536-")


def test_busy_server_is_asked_again(site, target):
    site.faults = [busy, busy]
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert len(site.asked) == 3


def test_lie_is_caught_and_the_file_fetched_anew_once(site, target, capsys):
    site.faults = [lie]
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert "fetching it anew" in capsys.readouterr().out


def test_server_that_always_lies(site, target):
    site.faults = [lie] * 9
    with pytest.raises(DownloadError, match=f"sha256 .* not {SHA256[7:]}"):
        fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert len(site.asked) == 2
    assert not target.exists()
    assert not target.with_name("birds.tgz.partial").exists(), "wrong bytes are not resumed"


def test_stitched_file_that_fails_its_checksum_comes_again(site, target):
    target.with_name("birds.tgz.partial").write_bytes(bytes(1000))
    target.with_name("birds.tgz.partial.etag").write_text(site.etag)
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == ["bytes=1000-", ""]


def test_whole_file_that_was_not_renamed_yet(site, target):
    target.with_name("birds.tgz.partial").write_bytes(CONTENT)
    target.with_name("birds.tgz.partial.etag").write_text(site.etag)
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert len(site.asked) == 1


def test_partial_longer_than_the_file_starts_over(site, target):
    target.with_name("birds.tgz.partial").write_bytes(CONTENT + b"more")
    target.with_name("birds.tgz.partial.etag").write_text(site.etag)
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT


def test_server_without_the_file(site, target):
    with pytest.raises(DownloadError, match="HTTP 404; fetch it by hand if it has moved"):
        fetch(site.url("fish.tgz"), target)
    assert len(site.asked) == 1


def test_no_server_says_what_to_do_and_keeps_what_came(target):
    site = Site({"birds.tgz": CONTENT}, faults=[truncate] * 99)
    with served(site):
        pass
    target.with_name("birds.tgz.partial").write_bytes(CONTENT[:500])
    with pytest.raises(DownloadError, match=r"500 bytes are kept in .*: run the same"):
        fetch(site.url("birds.tgz"), target)


def test_file_larger_than_the_disk_is_refused_at_once(site, target):
    def boast(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**18))
        handler.end_headers()

    site.faults = [boast]
    with pytest.raises(DownloadError, match=r"GB free, 1000000000\.0 GB are to come"):
        fetch(site.url("birds.tgz"), target)


def test_killed_download_is_resumed(target, tmp_path):
    """kill -9 in the middle; the second process asks for the rest only."""

    def slow(handler, body):
        handler.answer(body, sent=2_500_000)
        time.sleep(30)

    script = "import sys; from pathlib import Path; from fdhmfe.data.fetch.download import fetch; "
    script += "fetch(sys.argv[1], Path(sys.argv[2]), checksum=sys.argv[3])"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with served(Site({"birds.tgz": CONTENT}, faults=[slow])) as site:
        command = [sys.executable, "-c", script, site.url("birds.tgz"), str(target), SHA256]
        process = subprocess.Popen(command, env=environment)
        partial = target.with_name("birds.tgz.partial")
        while not (partial.exists() and partial.stat().st_size >= 2**20):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = partial.stat().st_size
        subprocess.run(command, env=environment, check=True, timeout=60)
    assert target.read_bytes() == CONTENT
    assert site.asked[-1] == ("/birds.tgz", f"bytes={kept}-")


def test_two_downloads_of_one_file_do_it_once(site, target):
    threads = [
        threading.Thread(
            target=fetch, args=(site.url("birds.tgz"), target), kwargs={"checksum": SHA256}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert len(site.asked) == 1


# What servers do: (what the first answers are; the rest are good), and what comes of it

PAGE = b"<!DOCTYPE html>\n<html><head><title>Log\n in</title></head>...</html>"
WHOLE, SIZE = "", len(CONTENT)


def page(kind: str, content: bytes = PAGE) -> Callable:
    return partial(reply, sent=content, Content_Type=kind)


def soon(handler, body):
    reply(handler, body, 429, sent=b"", Retry_After=formatdate(time.time() + 2, usegmt=True))


def elsewhere(handler, body):
    """To a page on another host."""
    handler.site.faults.append(page("text/html"))
    reply(handler, body, 302, sent=b"", Location=handler.site.url("birds.tgz", "http://localhost"))


def round_and_round(handler, body):
    handler.site.faults.append(round_and_round)
    reply(handler, body, 302, sent=b"", Location=handler.site.url("birds.tgz"))


ANSWERS = {
    # Pages and other files in its place
    "login page": ([page("text/html")], {}, r'a web page titled "Log in" \(text/html\), not an'),
    "page said to be an archive": ([page("application/gzip")], {}, 'page titled "Log in"'),
    "page, size published": ([page("text/html")], dict(size=SIZE), 'page titled "Log in"'),
    "page, checksum published": ([page("text/html")], dict(checksum=SHA256), "a web page"),
    "page without a title": ([page("text/html", b"<html>")], {}, r"sends a web page \(text/html"),
    "error in JSON": ([page("application/json", b'{"error": 7}')], {}, 'begins "{"error": 7}"'),
    "one line of text": ([page("text/plain", b"Quota exceeded")], {}, 'begins "Quota exceeded"'),
    "page of an older encoding": ([page("text/html", b"<html>\xe9")], {}, "sends a web page"),
    "bytes that are no archive": (
        [partial(reply, sent=b"\x81" * 9000)] * 2,
        {},
        "is cut off or damaged, not an archive: nothing of it is kept",
    ),
    "archive said to be a page": ([partial(reply, Content_Type="text/html")], {}, WHOLE),
    "page of a proxy, 502": ([partial(reply, status=502, sent=PAGE)], {}, WHOLE),
    "redirect to a login page": ([elsewhere], {}, r"//localhost:\d+/\S+ sends a web page titled"),
    # Lengths
    "length that is no number": ([partial(reply, Content_Length="abc")], {}, WHOLE),
    "negative length": ([partial(reply, Content_Length="-5")], {}, WHOLE),
    "no length": ([reply], {}, WHOLE),
    "no length, size published": ([reply], dict(size=SIZE), WHOLE),
    "no length, cut off": ([partial(reply, sent=CONTENT[:9000])], dict(size=SIZE), WHOLE),
    "length smaller than the body": (
        [partial(reply, Content_Length="9000")],
        dict(size=SIZE),
        rf"has 9,000 bytes, not the published {SIZE:,}",
    ),
    "smaller length, checksum published": (
        [partial(reply, Content_Length="9000")],
        dict(checksum=SHA256),
        WHOLE,
    ),
    "length larger than the body": (
        [partial(reply, Content_Length=str(SIZE + 9), ETag='"1"')],
        dict(checksum=SHA256),
        WHOLE,
    ),
    "length always larger": (
        [partial(reply, Content_Length=str(SIZE + 9))] * 99,
        {},
        rf"{SIZE} bytes read, 9 more expected\)\); {SIZE:,} bytes are kept",
    ),
    "body without end, size published": ([endless], dict(size=SIZE), f"more than {SIZE:,} bytes"),
    "body without end": ([endless], {}, "more than 67,108,864 bytes: nothing of it is kept"),
    "empty, once": ([partial(reply, sent=b"", Content_Length="0")], {}, WHOLE),
    "empty, always": ([partial(reply, sent=b"")] * 99, {}, r"cannot be fetched \(nothing came\)"),
    # Parts
    "part of something else": (
        [truncate, partial(reply, status=206, sent=b"x", Content_Range="bytes 0-0/9")],
        {},
        WHOLE,
    ),
    "Content-Range that is none": (
        [truncate, partial(reply, status=206, Content_Range="some")],
        {},
        WHOLE,
    ),
    "never a Content-Range": ([partial(reply, status=206)] * 99, {}, "a part of something else"),
    "smaller parts than asked for": ([truncate, part, part], dict(checksum=SHA256), WHOLE),
    "part that was not asked for": ([part], {}, WHOLE),
    "total that changed": ([truncate, partial(part, total=SIZE + 1)], {}, WHOLE),
    "416 to a whole request, always": (
        [partial(reply, status=416, sent=b"")] * 99,
        {},
        "has changed on the server",
    ),
    # Time
    "slow drip, once": ([drip], {}, WHOLE),
    "slow drip, always": ([drip] * 99, {}, r"only [\d,]+ bytes came in .* bytes are kept in"),
    "busy for a day": (
        [partial(reply, status=503, Retry_After="86400")],
        {},
        "HTTP 503, and the server asks to wait more than 10 minutes",
    ),
    "busy, asks for nonsense": ([partial(reply, status=429, Retry_After="soon")], {}, WHOLE),
    # The rest
    "encoding named that is the file's own": (
        [partial(reply, Content_Encoding="gzip", Content_Length=str(SIZE))],
        dict(size=SIZE),
        WHOLE,
    ),
    "packed again, size published": ([packed_again], dict(size=SIZE), "not the published"),
    "packed again": ([packed_again] * 2, {}, "not an archive: nothing of it is kept"),
    "hangs up, once": ([hang_up], {}, WHOLE),
    "hangs up, always": ([hang_up] * 99, {}, "cannot be fetched .* 0 bytes are kept"),
    "accepted, not ready": ([partial(reply, status=202, sent=PAGE)], {}, "HTTP 202; fetch it by"),
    "redirect without end": ([round_and_round], {}, "cannot be fetched .*30 redirects"),
}


@pytest.mark.parametrize(("faults", "published", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_answers(faults, published, expected, site, target, monkeypatch):
    monkeypatch.setattr(download, "MOST", 2**26)
    site.faults = list(faults)
    if expected:
        with pytest.raises(DownloadError, match=f"(?s){expected}") as caught:
            fetch(site.url("birds.tgz"), target, **published)
        assert "\n" not in str(caught.value)
        assert not target.exists()
        kept = "bytes are kept" in str(caught.value) and " 0 bytes are" not in str(caught.value)
        assert target.with_name("birds.tgz.partial").exists() == kept
    else:
        fetch(site.url("birds.tgz"), target, **published)
        assert target.read_bytes() == CONTENT
        assert site.faults == []
    assert not target.with_name("birds.tgz.sha256").exists(), "it is not unpacked yet"


@pytest.mark.parametrize("fault", [partial(reply, status=503, Retry_After="1"), soon])
def test_wait_that_a_server_asks_for_is_kept(fault, site, target, capsys):
    site.faults = [fault]
    fetch(site.url("birds.tgz"), target)
    assert re.search(r"HTTP (503|429)\); next try in [12] s", capsys.readouterr().out)


def test_page_does_not_replace_what_has_arrived(site, target):
    site.faults = [truncate, page("text/html")]
    with pytest.raises(DownloadError, match="Log in"):
        fetch(site.url("birds.tgz"), target)
    assert target.with_name("birds.tgz.partial").read_bytes() == CONTENT[: 2**16]
    fetch(site.url("birds.tgz"), target)
    assert target.read_bytes() == CONTENT
    assert site.asked[-1] == ("/birds.tgz", "bytes=65536-")


def test_partial_that_vanishes_while_it_is_written(site, target):
    def clean_up(handler, body):
        handler.answer(body, sent=2**20)
        handler.wfile.flush()
        partial_file = target.with_name("birds.tgz.partial")
        while not partial_file.exists():
            time.sleep(0.01)
        partial_file.unlink()
        handler.wfile.write(body[2**20 :])

    site.faults = [clean_up]
    fetch(site.url("birds.tgz"), target, checksum=SHA256)
    assert target.read_bytes() == CONTENT


def test_encrypted_address_that_leads_to_a_plain_one(site, target, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + key.read_text())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    safe = Site({"birds.tgz": CONTENT})
    with served(safe, certificate):
        address = safe.url("birds.tgz", "https://127.0.0.1")
        safe.faults = [partial(reply, status=302, sent=b"", Location=site.url("birds.tgz"))]
        with pytest.raises(DownloadError, match=r"leads to http://127\S+, which is not encrypted"):
            fetch(address, target)
        assert not target.exists()
        fetch(address, target)
    assert target.read_bytes() == CONTENT


# Checksums


def test_first_copy_is_compared_with_only_after_it_is_recorded(target):
    target.write_bytes(CONTENT)
    assert verify(target) == "no checksum is published, and none is recorded yet"
    assert verify(target) == "no checksum is published, and none is recorded yet"
    assert record(
        target
    ) == f"no checksum is published; {SHA256.replace(':', ' ')} recorded in " + ("birds.tgz.sha256")
    assert verify(target) == "sha256 as recorded of the first copy; none is published"
    command = ["sha256sum", "--check", "birds.tgz.sha256"]
    assert subprocess.run(command, cwd=target.parent, check=False).returncode == 0
    target.write_bytes(OTHER)
    with pytest.raises(
        DownloadError, match=rf"not {SHA256[7:]} as recorded in .*birds\.tgz\.sha256"
    ):
        verify(target)


def test_old_record_does_not_lock_out_a_new_version(site, target):
    target.write_bytes(OTHER)
    record(target)
    target.unlink()
    with pytest.raises(
        DownloadError, match=r"if there is a new version, delete birds\.tgz\.sha256"
    ):
        fetch(site.url("birds.tgz"), target)
    target.with_name("birds.tgz.sha256").unlink()
    fetch(site.url("birds.tgz"), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"", b"broken", b"\xff\xfe"])
def test_record_that_cannot_be_read_is_none(content, target):
    target.write_bytes(CONTENT)
    target.with_name("birds.tgz.sha256").write_bytes(content)
    assert verify(target) == "no checksum is published, and none is recorded yet"


FILES = [
    (b"", "is empty, not an archive: delete it"),
    (PAGE, 'is a web page titled "Log in", not an archive: delete it'),
    (b"Quota exceeded", 'is text that begins "Quota exceeded", not an archive'),
    (b"\x81" * 900, "is cut off or damaged, not an archive"),
    (CONTENT[:9], "is cut off or damaged, not an archive"),
    (OTHER, f"has md5 {hashlib.md5(OTHER).hexdigest()}, not {hashlib.md5(CONTENT).hexdigest()}"),
    (CONTENT[:-1], f"has {SIZE - 1:,} bytes, not the published {SIZE:,}"),
]


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_file_brought_by_hand_that_is_another(content, expected, target):
    target.write_bytes(content)
    size = SIZE if len(content) >= SIZE - 1 else 0
    md5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    with pytest.raises(DownloadError, match=expected):
        verify(target, md5, size)
    target.write_bytes(CONTENT)
    assert verify(target, md5, SIZE) == "md5 as published"


@pytest.mark.parametrize(("content", "good"), [(b"MATLAB 5.0 MAT-file", True), (PAGE, False)])
def test_matlab_file_is_no_archive_but_known(content, good, tmp_path):
    (tmp_path / "labels.mat").write_bytes(content)
    if good:
        verify(tmp_path / "labels.mat")
        return
    with pytest.raises(DownloadError, match="a web page"):
        verify(tmp_path / "labels.mat")
