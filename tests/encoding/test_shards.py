"""Folders of codes that are damaged or hostile: made here, without a network."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from fdhmfe import search
from fdhmfe.encoding import job
from fdhmfe.runs.results import write_npz

BITS = 12


def arrays(first: int, count: int = 4) -> dict[str, np.ndarray]:
    """A shard of the ids from `first` on, the last of which could not be read."""
    ids = np.arange(first, first + count - 1)
    rng = np.random.default_rng(first)
    bits = rng.integers(0, 2, (len(ids), 64), dtype=np.uint8)
    bits[:, BITS:] = 0
    return {
        "ids": ids,
        "words": np.packbits(bits, axis=1).view(np.uint64),
        "sha256": rng.integers(0, 256, (len(ids), 32), dtype=np.uint8),
        "failed": np.array([first + count - 1]),
        "reasons": np.array(["is no image"]),
    }


def shard(out: Path, number: int | str) -> Path:
    return out / "shards" / (f"{number:05d}.npz" if isinstance(number, int) else number)


@pytest.fixture
def out(tmp_path) -> Path:
    """A finished job of three shards."""
    digest = hashlib.sha256()
    (tmp_path / "shards").mkdir()
    for number in range(3):
        made = arrays(4 * number)
        digest.update(made["sha256"].tobytes())
        write_npz(shard(tmp_path, number), made)
    identity = {"bits": BITS, "model": "network", "data": digest.hexdigest()[:16]}
    record = {"identity": identity, "encoded": 9, "unreadable": 3}
    (tmp_path / "encoded.json").write_text(json.dumps(record))
    return tmp_path


def changed(name, change, number=1):
    """Another array in a shard; None takes it away."""

    def damage(out):
        made = arrays(4 * number)
        made[name] = change(made[name])
        write_npz(shard(out, number), {k: v for k, v in made.items() if v is not None})

    return damage


def with_value(at, value):
    def change(array):
        array[at] = value
        return array

    return change


def raw(number, change):
    """Other bytes in a shard."""

    def damage(out):
        path = shard(out, number)
        path.write_bytes(change(path.read_bytes()))

    return damage


def extra(name, first):
    """A shard more, of four ids from `first` on."""
    return lambda out: write_npz(shard(out, name), arrays(first))


def record(*keys, value):
    """Another value in encoded.json."""

    def damage(out):
        content = json.loads((out / "encoded.json").read_text())
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (out / "encoded.json").write_text(json.dumps(content))

    return damage


def text(written):
    return lambda out: (out / "encoded.json").write_bytes(written)


def swap(out):
    first, second = shard(out, 0), shard(out, 1)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def pickled(out):
    np.savez(shard(out, 1), **arrays(4) | {"ids": np.array([{}, None, 3], object)})


DAMAGES = {
    "empty": (raw(1, lambda b: b""), "00001.npz cannot be read"),
    "cut off": (raw(1, lambda b: b[:-9]), "00001.npz cannot be read"),
    "no archive": (raw(1, lambda b: b"no archive" * 50), "00001.npz cannot be read"),
    "one byte": (raw(1, lambda b: b[:200] + bytes([b[200] ^ 4]) + b[201:]), "00001.npz"),
    "pickled": (pickled, "00001.npz cannot be read"),
    **{
        f"without {name}": (changed(name, lambda a: None), f"00001.npz lacks {name}")
        for name in ("ids", "words", "sha256", "failed", "reasons")
    },
    "ids floats": (changed("ids", lambda a: a.astype(float)), "00001.npz holds ids of float64"),
    "ids int32": (changed("ids", lambda a: a.astype(np.int32)), "00001.npz holds ids of int32"),
    "ids unsigned": (changed("ids", lambda a: a.astype(np.uint64)), "holds ids of uint64"),
    "ids texts": (changed("ids", lambda a: a.astype(str)), "00001.npz holds ids of <U"),
    "ids a column": (changed("ids", lambda a: a[:, None]), r"00001.npz holds ids of .*\(3, 1\)"),
    "ids one number": (changed("ids", lambda a: a[0]), "00001.npz holds ids of"),
    "ids negative": (changed("ids", with_value(0, -1), 0), "00000.npz holds an id twice, or one"),
    "ids twice": (changed("ids", with_value(1, 4)), "00001.npz holds an id twice"),
    "ids of the shard before": (changed("ids", with_value(0, 2)), "00001.npz holds .* earlier"),
    "ids that failed there": (changed("ids", with_value(0, 3)), "00001.npz holds .* earlier"),
    "ids that failed too": (changed("ids", with_value(2, 7)), "00001.npz holds an id twice"),
    "ids backwards": (changed("ids", lambda a: a[::-1]), "00001.npz holds ids out of order"),
    "ids too many": (changed("ids", lambda a: np.array([4, 5, 6, 8])), "differ in length"),
    "failed floats": (changed("failed", lambda a: a + 0.5), "00001.npz holds failed of float64"),
    "failed negative": (changed("failed", lambda a: -a), "00001.npz holds an id twice, or one"),
    "reasons bytes": (changed("reasons", lambda a: a.astype(bytes)), "holds reasons of"),
    "reasons too many": (changed("reasons", lambda a: np.append(a, "x")), "differ in length"),
    "words bytes": (changed("words", lambda a: a.view(np.uint8)), "holds words of uint8"),
    "words signed": (changed("words", lambda a: a.view(np.int64)), "holds words of int64"),
    "words flat": (changed("words", lambda a: a.ravel()), "00001.npz holds words of"),
    "words too wide": (changed("words", lambda a: np.hstack([a, a])), "other than 12 bits"),
    "words of no width": (changed("words", lambda a: a[:, :0]), "other than 12 bits"),
    "words of more bits": (changed("words", with_value((0, 0), 1 << 40)), "other than 12 bits"),
    "words too few": (changed("words", lambda a: a[:-1]), "00001.npz holds arrays that differ"),
    "sha256 too narrow": (changed("sha256", lambda a: a[:, :16]), "differ in length"),
    "sha256 another": (changed("sha256", with_value((0, 0), 0)), "holds other images than"),
    "a shard missing": (lambda out: shard(out, 1).unlink(), "holds other images than"),
    "the last one missing": (lambda out: shard(out, 2).unlink(), "holds other images than"),
    "all shards missing": (lambda out: [p.unlink() for p in (out / "shards").iterdir()], "other"),
    "swapped": (swap, r"00001.npz holds .* earlier shard"),
    "a stray shard of other ids": (extra("00007.npz", 28), "holds other images than"),
    "a stray shard of the same ids": (extra("00007.npz", 4), "00007.npz holds .* earlier shard"),
    "a copy": (extra("00001 (1).npz", 4), r"00001 \(1\).npz is not of this job"),
    "a stray name": (extra("other.npz", 28), "other.npz is not of this job"),
    "another name for a number": (extra("\u0661.npz", 28), "is not of this job"),
    "record empty": (text(b""), "encoded.json is not valid JSON"),
    "record no utf-8": (text(b'{"identity": "\xff"}'), "encoded.json is not valid JSON"),
    "record a list": (text(b"[]"), "encoded.json names no code length"),
    "record nothing": (text(b"{}"), "encoded.json names no code length"),
    "identity a text": (record("identity", value="a"), "encoded.json names no code length"),
    "identity with more": (record("identity", "x", value=1), "encoded.json names no code length"),
    "bits a text": (record("identity", "bits", value="12"), "encoded.json names no code length"),
    "bits true": (record("identity", "bits", value=True), "encoded.json names no code length"),
    "bits 0": (record("identity", "bits", value=0), "encoded.json names no code length"),
    "bits of longer codes": (record("identity", "bits", value=100), "other than 100 bits"),
    "data of other images": (record("identity", "data", value="0" * 16), "holds other images"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_ends_in_one_clear_error_before_the_first_code(damage, out):
    harm, message = DAMAGES[damage]
    harm(out)
    with pytest.raises(ValueError, match=message) as caught:
        next(job.read_encoded(out))
    assert str(out) in str(caught.value), "the file is named"


def test_a_job_that_is_not_finished_is_told_so(out):
    (out / "encoded.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not finished: run fdhmfe encode again"):
        next(job.read_encoded(out))


def test_whole_shards_come_in_order_of_their_numbers(out):
    ids = np.concatenate([ids for ids, _ in job.read_encoded(out)])
    assert ids.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    shard(out, 2).rename(shard(out, "100000.npz"))  # as text it would come before 99999
    shard(out, 1).rename(shard(out, "99999.npz"))
    parts = list(job.read_encoded(out))
    assert np.concatenate([ids for ids, _ in parts]).tolist() == ids.tolist()
    index = search.build("flat", job.read_identity(out), *parts[0])
    for part in parts[1:]:
        index.add(*part)
    assert len(index) == 9
