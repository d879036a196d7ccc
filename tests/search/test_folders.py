"""Saved indexes that are damaged, hostile, old, or left by a killed save."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search import folders
from fdhmfe.support.files import file_hash
from fdhmfe.support.places import REPOSITORY

IDENTITY = Identity(48, "network-a", "birds")
COUNT = 60


def codes(seed: int = 0) -> np.ndarray:
    """60 codes, of which 30 are distinct."""
    some = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (30, 48))
    return some[np.arange(COUNT) % 30]


@pytest.fixture
def saved(tmp_path):
    """A function that saves an index of a kind below tmp_path/outer, with a neighbour beside it."""

    def make(kind="flat", folder="index", seed=0):
        path = tmp_path / "outer" / folder
        search.build(kind, IDENTITY, np.arange(COUNT) * 2, codes(seed)).save(path)
        (tmp_path / "outer" / "x").write_bytes(b"somebody's file")
        return path

    return make


def header(folder):
    return json.loads((folder / "index.json").read_text())


def rewrite(folder, change):
    """Change the header as a dict, in place."""
    content = header(folder)
    (folder / "index.json").write_text(json.dumps(change(content) or content))


def part(folder, name):
    return folder / header(folder)["files"][name]["file"]


def vouch(folder, name):
    """Make the header agree with a file that was changed: damage on purpose."""
    path = part(folder, name)

    def change(content):
        content["files"][name] |= {"bytes": path.stat().st_size, "sha256": file_hash(path)}

    rewrite(folder, change)


def array(name, change):
    """Damage on purpose: another array in a file, and a header that agrees with it."""

    def damage(folder):
        path = part(folder, name)
        content = change(np.load(path))
        with open(path, "wb") as file:
            np.save(file, content)
        vouch(folder, name)

    return damage


def fact(*keys, value):
    """Another value in the header, at nested keys; `None` removes it."""

    def change(content):
        *outer, last = keys
        for key in outer:
            content = content[key]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return lambda folder: rewrite(folder, change)


def content(name, change):
    """Accidental damage: other bytes in a file, a header that knows nothing of it."""

    def damage(folder):
        path = part(folder, name)
        path.write_bytes(change(path.read_bytes()))

    return damage


def with_item(at, value):
    def change(values):
        values = values.copy()
        values[at] = value
        return values

    return change


def link(folder):
    path = part(folder, "ids.npy")
    away = folder.parent / "away.npy"
    path.rename(away)
    path.symlink_to(away)


def remove(name):
    return lambda folder: part(folder, name).unlink()


def swap(folder):
    first, second = part(folder, "codes.npy"), part(folder, "starts.npy")
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def swap_names(folder):
    def change(content):
        files = content["files"]
        files["codes.npy"], files["ids.npy"] = files["ids.npy"], files["codes.npy"]

    rewrite(folder, change)


def pickled(folder):
    path = part(folder, "ids.npy")
    with open(path, "wb") as file:
        np.save(file, np.array([{}, None]), allow_pickle=True)
    vouch(folder, "ids.npy")


def zipped(folder):
    path = part(folder, "ids.npy")
    with open(path, "wb") as file:
        np.savez(file, np.arange(COUNT))
    vouch(folder, "ids.npy")


def text(written):
    return lambda folder: (folder / "index.json").write_bytes(written)


CODES, STARTS, IDS = "codes.npy", "starts.npy", "ids.npy"
DAMAGES = {
    # the header: no JSON, or another thing than an object
    "header empty": (text(b""), "index.json"),
    "header cut off": (text(b'{"kind": "flat", "ide'), "index.json"),
    "header no utf-8": (text(b'{"kind": "\xff\xfe"}'), "index.json"),
    "header nested without end": (text(b"[" * 100_000), "index.json"),
    "header a list": (text(b"[]"), "index.json"),
    "header a number": (text(b"7"), "index.json"),
    "header null": (text(b"null"), "index.json"),
    "header NaN": (text(b"NaN"), "index.json"),
    # the header: keys that lack or are of another type
    "no format": (fact("format", value=None), "index.json"),
    "another format": (fact("format", value=3), "index.json"),
    "no identity": (fact("identity", value=None), "index.json"),
    "identity a list": (fact("identity", value=[48, "a", "b"]), "index.json"),
    "identity lacks bits": (fact("identity", "bits", value=None), "index.json"),
    "identity with more": (fact("identity", "seed", value=1), "index.json"),
    "bits a float": (fact("identity", "bits", value=48.0), "index.json"),
    "bits a text": (fact("identity", "bits", value="48"), "index.json"),
    "model a list": (fact("identity", "model", value=["network-a"]), "index.json"),
    "no kind": (fact("kind", value=None), "index.json"),
    "kind unknown": (fact("kind", value="annoy"), "index.json"),
    "kind a list": (fact("kind", value=["flat"]), "index.json"),
    "kind without its file": (fact("kind", value="hnsw"), "index.json"),
    "kind of an engine": (fact("kind", value="postgres"), "index.json"),
    "no count": (fact("count", value=None), "index.json"),
    "count negative": (fact("count", value=-1), "index.json"),
    "count a float": (fact("count", value=60.0), "index.json"),
    "count true": (fact("count", value=True), "index.json"),
    "count another": (fact("count", value=59), "index.json"),
    "no files": (fact("files", value=None), "index.json"),
    "files a list": (fact("files", value=[CODES, STARTS, IDS]), "index.json"),
    "files lack one": (fact("files", STARTS, value=None), "index.json"),
    "files with more": (fact("files", "more.npy", value={}), "index.json"),
    "file a text": (fact("files", IDS, value="ids-01234567.npy"), "index.json"),
    "file without a name": (fact("files", IDS, "file", value=None), "index.json"),
    "file without bytes": (fact("files", IDS, "bytes", value=None), "index.json"),
    "file without sha256": (fact("files", IDS, "sha256", value=None), "index.json"),
    "bytes a text": (fact("files", IDS, "bytes", value="608"), "index.json"),
    "bytes negative": (fact("files", IDS, "bytes", value=-1), "ids-"),
    "sha256 a number": (fact("files", IDS, "sha256", value=7), "index.json"),
    # names that lead elsewhere
    "above": (fact("files", IDS, "file", value="../x"), "index.json"),
    "above, of our form": (fact("files", IDS, "file", value="../ids-01234567.npy"), "index.json"),
    "absolute": (fact("files", IDS, "file", value="/etc/passwd"), "index.json"),
    "itself": (fact("files", IDS, "file", value="index.json"), "index.json"),
    "the folder": (fact("files", IDS, "file", value="."), "index.json"),
    "a list": (fact("files", IDS, "file", value=["x"]), "index.json"),
    "a null byte": (fact("files", IDS, "file", value="ids-0123456\0.npy"), "index.json"),
    "a line more": (fact("files", IDS, "file", value="ids-01234567.npy\n"), "index.json"),
    "not there": (fact("files", IDS, "file", value="ids-01234567.npy"), "ids-01234567.npy"),
    "two for one": (swap_names, "index.json"),
    "a link": (link, "ids-"),
    # files
    **{f"{name} missing": (remove(name), name[:3]) for name in (CODES, STARTS, IDS)},
    **{f"{name} empty": (content(name, lambda b: b""), name[:3]) for name in (CODES, STARTS, IDS)},
    **{f"{name} short": (content(name, lambda b: b[:-8]), name[:3]) for name in (CODES, STARTS)},
    **{f"{name} long": (content(name, lambda b: b + b"12345678"), name[:3]) for name in (CODES,)},
    "one bit of a code": (content(CODES, lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:]), "codes-"),
    "zeros at the start": (content(IDS, lambda b: bytes(16) + b[16:]), "ids-"),
    "swapped files": (swap, "codes-"),
    "pickled": (pickled, "ids-"),
    "zipped": (zipped, "ids-"),
    # arrays that the header vouches for
    "ids negative": (array(IDS, with_item(0, -2)), "ids-"),
    "ids floats": (array(IDS, lambda a: a.astype(float)), "ids-"),
    "ids int32": (array(IDS, lambda a: a.astype(np.int32)), "ids-"),
    "ids unsigned": (array(IDS, lambda a: a.astype(np.uint64)), "ids-"),
    "ids of other order of bytes": (array(IDS, lambda a: a.astype(">i8")), "ids-"),
    "ids texts": (array(IDS, lambda a: a.astype(str)), "ids-"),
    "ids twice": (array(IDS, with_item(1, 0)), "ids-"),
    "ids twice, far apart": (array(IDS, with_item(59, 60)), "ids-"),
    "ids backwards": (array(IDS, lambda a: a[::-1].copy()), "ids-"),
    "ids of two items exchanged": (array(IDS, lambda a: a.reshape(30, 2)[:, ::-1].ravel()), "ids-"),
    "ids of two codes exchanged": (array(IDS, lambda a: np.roll(a, 2)), "ids-"),
    "ids too few": (array(IDS, lambda a: a[:-2]), "starts-"),
    "ids too many": (array(IDS, lambda a: np.append(a, 1000)), "starts-"),
    "ids two axes": (array(IDS, lambda a: a.reshape(30, 2)), "ids-"),
    "ids no axis": (array(IDS, lambda a: np.int64(3)), "ids-"),
    "codes int64": (array(CODES, lambda a: a.astype(np.int64)), "codes-"),
    "codes bytes": (array(CODES, lambda a: a.view(np.uint8)), "codes-"),
    "codes flat": (array(CODES, lambda a: a.ravel()), "codes-"),
    "codes too wide": (array(CODES, lambda a: np.hstack([a, a])), "codes-"),
    "codes of no width": (array(CODES, lambda a: a[:, :0]), "codes-"),
    "codes too few": (array(CODES, lambda a: a[:-1]), "starts-"),
    "codes twice": (array(CODES, lambda a: np.vstack([a[1:2], a[1:]])), "codes-"),
    "codes with bits beyond 48": (array(CODES, with_item(3, 1 << 63)), "codes-"),
    "starts floats": (array(STARTS, lambda a: a.astype(float)), "starts-"),
    "starts from 1": (array(STARTS, with_item(0, 1)), "starts-"),
    "starts negative": (array(STARTS, with_item(3, -4)), "starts-"),
    "starts that fall": (array(STARTS, with_item(3, 2)), "starts-"),
    "starts of no items": (array(STARTS, with_item(3, 4)), "starts-"),
    "starts beyond the end": (array(STARTS, with_item(30, 1 << 40)), "starts-"),
    "starts none": (array(STARTS, lambda a: a[:0]), "starts-"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_ends_in_one_clear_error_and_can_be_built_again(damage, saved):
    folder = saved()
    harm, named = DAMAGES[damage]
    harm(folder)
    with pytest.raises(ValueError) as caught:
        search.load(folder, IDENTITY)
    message = str(caught.value)
    assert str(folder / named) in message.replace("\n", " "), message
    assert "build" in message or "delete it and run again" in message, "what to do"
    again = search.build("flat", IDENTITY, np.arange(COUNT), codes())
    again.save(folder)
    assert len(search.load(folder, IDENTITY)) == COUNT
    assert (folder.parent / "x").read_bytes() == b"somebody's file", "it is not ours"


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("damage", ["missing", "short", "other kind", "other codes", "no index"])
def test_a_damaged_file_of_faiss_is_named(kind, damage, saved):
    folder = saved(kind)
    path = part(folder, "faiss.index")
    others = {
        "other kind": part(saved({"ivf": "hnsw", "hnsw": "ivf"}[kind], "kind"), "faiss.index"),
        "other codes": part(saved(kind, "codes", seed=1), "faiss.index"),
    }
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.write_bytes(others[damage].read_bytes() if damage in others else b"no index at all")
        vouch(folder, "faiss.index")
    with pytest.raises(ValueError, match=r"faiss-.* the index is damaged"):
        search.load(folder, IDENTITY)


def test_a_file_of_another_index_is_found_out(saved):
    """Both are whole, and of the same size."""
    folder, other = saved(), saved(folder="other", seed=1)
    part(folder, CODES).write_bytes(part(other, CODES).read_bytes())
    with pytest.raises(ValueError, match=r"codes-.* has other content than was saved"):
        search.load(folder, IDENTITY)


def test_an_index_of_the_older_format_says_to_build_it_anew(tmp_path):
    (tmp_path / "codes-01234567.npy").write_bytes(b"")
    files = {"codes.npy": {"file": "codes-01234567.npy", "bytes": 0}}
    old = {"kind": "flat", "identity": IDENTITY._asdict(), "count": 5, "files": files}
    (tmp_path / "index.json").write_text(json.dumps(old))
    with pytest.raises(ValueError, match=r"index\.json is of another version .* build .* anew"):
        search.load(tmp_path, IDENTITY)
    search.build("flat", IDENTITY, np.arange(COUNT), codes()).save(tmp_path)
    assert len(search.load(tmp_path, IDENTITY)) == COUNT
    assert not (tmp_path / "codes-01234567.npy").exists()


def test_a_header_that_names_the_wrong_file_removes_nothing(saved):
    folder = saved()
    fact("files", IDS, "file", value="../x")(folder)
    search.build("flat", IDENTITY, np.arange(COUNT), codes()).save(folder)
    assert (folder.parent / "x").read_bytes() == b"somebody's file"


def test_the_engine_of_a_saved_index_must_be_there(tmp_path):
    stored = {"kind": "postgres", "identity": IDENTITY._asdict(), "count": 5, "files": {}}
    secret = "host=a passfile=secrets.txt"
    for uri in (None, 7, "", "codes.db", "http://host:19530", secret, "host=a options=-cx=1"):
        facts = stored | {"format": folders.FORMAT} | ({} if uri is None else {"uri": uri})
        (tmp_path / "index.json").write_text(json.dumps(facts))
        with pytest.raises(ValueError, match=r"index\.json names the engine .*: none there"):
            search.load(tmp_path, IDENTITY)


KEPT = [
    "notes.txt",
    "codes.npy",
    "codes-1234.npy",
    "codes-0123456g.npy",
    "my-codes-01234567.npy",
    "codes-01234567.npy.bak",
    "photo-01234567.npy",
    ".codes-01234567.npy.host.notanumber.partial",
    ".other-01234567.npy.host.1.partial",
    f".codes-01234567.npy.host.{os.getpid()}.partial",  # a process that lives
]
GONE = [
    "codes-01234567.npy",
    "starts-01234567.npy",
    "ids-89abcdef.npy",
    "faiss-01234567.index",
    ".codes-01234567.npy.host.999999999.partial",
]


def test_a_save_removes_what_killed_saves_left_and_nothing_else(saved):
    folder = saved()
    for name in (*KEPT, *GONE):
        (folder / name).write_bytes(b"left")
    (folder / "ids-01234567.npy").mkdir()  # a folder, so none of ours
    search.build("hnsw", IDENTITY, np.arange(COUNT), codes()).save(folder)
    named = {each["file"] for each in header(folder)["files"].values()}
    left = {path.name for path in folder.iterdir()}
    assert left == {*KEPT, *named, "index.json", ".index.lock", "ids-01234567.npy"}
    assert len(search.load(folder, IDENTITY)) == COUNT


SAVER = """
import sys
import numpy as np
from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search.scale import clustered_codes

codes = clustered_codes(200_000, 48, seed=0)
index = search.build("flat", Identity(48, "network-a", "birds"), np.arange(200_000), codes)
index.settle()
print("begun", flush=True)
while True:
    index.save(sys.argv[1])
"""


@pytest.mark.slow
def test_saves_killed_at_any_moment_leave_nothing_that_a_later_save_keeps(saved):
    folder = saved()
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for wait in (0.0, 0.01, 0.03, 0.1):
        command = [sys.executable, "-c", SAVER, str(folder)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(search.load(folder, IDENTITY)) in (COUNT, 200_000)
    search.build("flat", IDENTITY, np.arange(COUNT), codes()).save(folder)
    named = {each["file"] for each in header(folder)["files"].values()}
    assert {path.name for path in folder.iterdir()} == {*named, "index.json", ".index.lock"}
