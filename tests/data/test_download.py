"""Downloads from a server that truncates, stalls, restarts and lies; then what is unpacked."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from loopback import Site, busy, lie, served, stall, truncate
from tenacity import wait_fixed, wait_none

from fdhmfe.data.fetch import download
from fdhmfe.data.fetch.download import DownloadError, fetch, verify
from fdhmfe.support.places import REPOSITORY

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "WAIT", wait_none())
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))


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
        site.content["birds.tgz"], site.etag = CONTENT[::-1], '"2"'

    site.faults = [change]
    fetch(site.url("birds.tgz"), target)
    assert target.read_bytes() == CONTENT[::-1]


def test_server_that_sends_another_part_than_asked_for(site, target):
    def misplace(handler, body):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-9/{len(body)}")
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(body[:10])

    site.faults = [truncate, misplace]
    fetch(site.url("birds.tgz"), target)
    assert target.read_bytes() == CONTENT


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


def test_page_in_place_of_the_file_is_refused_before_it_is_read(site, target):
    site.content["birds.tgz"] = b"<html>Please log in</html>"
    with pytest.raises(DownloadError, match="has 26 bytes, not the published 3,000,000"):
        fetch(site.url("birds.tgz"), target, size=len(CONTENT))
    assert not target.exists()


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


# Checksums


def test_hash_is_recorded_at_first_sight_and_compared_from_then_on(target):
    target.write_bytes(b"first")
    assert verify(target, "").startswith("no checksum is published; sha256 a7937b64b8caa58f")
    assert verify(target, "") == "sha256 as recorded at first sight; none is published"
    target.write_bytes(b"other")
    with pytest.raises(
        DownloadError, match=r"not a7937b64b8caa58f.*recorded in birds\.tgz\.sha256"
    ):
        verify(target, "")


def test_recorded_hash_is_read_by_sha256sum(target):
    target.write_bytes(b"first")
    verify(target, "")
    command = ["sha256sum", "--check", "birds.tgz.sha256"]
    assert subprocess.run(command, cwd=target.parent, check=False).returncode == 0


def test_md5_and_size(target):
    target.write_bytes(b"first")
    assert verify(target, "md5:8b04d5e3775d298e78455efc5ca404d5", 5) == "md5 as published"
    with pytest.raises(DownloadError, match="has 5 bytes, not 6"):
        verify(target, "", 6)
