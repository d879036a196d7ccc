"""Milvus killed, restarted, served and gone; all on this machine, over loopback."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search import engine
from fdhmfe.search.scale import clustered_codes
from fdhmfe.support.places import REPOSITORY

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (the extra `engine`)")
pytest.importorskip("pkg_resources", reason="milvus-lite needs setuptools<81 (the extra `engine`)")

IDENTITY = Identity(48, "network-a", "birds")
COUNT = 60_000
LOADER = f"""
import sys
import numpy as np
from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search.scale import clustered_codes

codes = clustered_codes({COUNT}, 48, seed=0)
index = search.build("milvus", Identity{tuple(IDENTITY)}, np.arange(0), codes[:0], uri=sys.argv[1])
for first in range(0, {COUNT}, 3000):
    index.add(np.arange(first, first + 3000), codes[first : first + 3000])
    print(first, flush=True)
index.save(sys.argv[2])
"""


def load_in_a_process(*arguments) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    # A session of its own, so that the embedded server can be killed with it.
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, *map(str, arguments)],
        **{"env": env, "stdout": subprocess.PIPE, "text": True, "start_new_session": True},
    )


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, 9)
    process.wait()


def same_answers(index):
    codes, queries = clustered_codes(COUNT, 48, seed=0), clustered_codes(50, 48, seed=1)
    exact = search.build("flat", IDENTITY, np.arange(COUNT), codes).search(queries, 100)
    hits = index.search(queries, 100)
    np.testing.assert_array_equal(hits.distances, exact.distances)
    sure = exact.distances < exact.distances[:, -1:]
    np.testing.assert_array_equal(hits.ids[sure], exact.ids[sure])


def test_a_load_killed_three_times_resumes_and_loses_nothing(tmp_path):
    uri, saved = tmp_path / "codes.db", tmp_path / "saved"
    for batches in (3, 6, 9):  # how far each attempt comes
        process = load_in_a_process(uri, saved)
        for _ in range(batches):
            process.stdout.readline()
        kill(process)
        index = search.build("milvus", IDENTITY, np.arange(0), np.ones((0, 48)), uri=str(uri))
        assert 3000 * batches <= len(index) < COUNT, "what add returned for is there"
        index.close()
    process = load_in_a_process(uri, saved)
    process.communicate(timeout=300)
    assert process.returncode == 0
    index = search.load(saved, IDENTITY)
    assert len(index) == COUNT
    same_answers(index)
    index.close()


def test_served_stopped_and_started_it_answers_as_before(tmp_path, monkeypatch):
    codes = clustered_codes(COUNT, 48, seed=0)
    with engine.serve(tmp_path / "served.db") as uri:
        index = search.build("milvus", IDENTITY, np.arange(COUNT), codes, uri=uri)
        index.save(tmp_path / "saved")
        same_answers(index)

    monkeypatch.setattr("fdhmfe.search.engine.TIMEOUT", 5.0)  # a person waits for these messages
    for request in (
        lambda: search.load(tmp_path / "saved", IDENTITY),
        lambda: index.search(codes[:1], 1),
        lambda: index.add(np.array([COUNT]), codes[:1]),
    ):
        with pytest.raises(ConnectionError, match="the search engine at http://127"):
            request()
    monkeypatch.undo()

    with engine.serve(tmp_path / "served.db") as uri:  # at another port
        again = search.build("milvus", IDENTITY, np.arange(0), codes[:0], uri=uri)
        assert len(again) == COUNT
        same_answers(again)


def test_an_answer_that_comes_too_late_is_an_engine_that_does_not_answer(tmp_path, monkeypatch):
    codes = clustered_codes(1000, 48, seed=0)
    with engine.serve(tmp_path / "served.db") as uri:
        index = search.build("milvus", IDENTITY, np.arange(1000), codes, uri=uri)
        monkeypatch.setattr("fdhmfe.search.engine.TIMEOUT", 1e-6)
        for request in (lambda: len(index), lambda: index.search(codes[:1], 1)):
            with pytest.raises(ConnectionError, match="did not answer"):
                request()
        monkeypatch.undo()
        assert len(index) == 1000


def test_an_engine_that_lost_codes_since_the_save_is_found_out(tmp_path):
    uri, codes = str(tmp_path / "codes.db"), clustered_codes(100, 48, seed=0)
    index = search.build("milvus", IDENTITY, np.arange(100), codes, uri=uri)
    index.save(tmp_path / "saved")
    index.client.drop_collection(index.collection)
    index.close()
    with pytest.raises(ValueError, match="holds 0 of the 100 codes"):
        search.load(tmp_path / "saved", IDENTITY)


def test_another_model_s_codes_get_a_collection_of_their_own(tmp_path):
    uri, codes = str(tmp_path / "codes.db"), clustered_codes(10, 48, seed=0)
    search.build("milvus", IDENTITY, np.arange(10), codes, uri=uri)
    other = search.build("milvus", IDENTITY._replace(model="b"), np.arange(4), codes[:4], uri=uri)
    assert len(other) == 4
