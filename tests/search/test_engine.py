"""PostgreSQL with its clients and itself killed, restarted and gone; all on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pytest

from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search.scale import clustered_codes
from fdhmfe.support.places import REPOSITORY

psycopg = pytest.importorskip("psycopg", reason="the extra `engine` is not installed")

IDENTITY = Identity(48, "network-a", "birds")
COUNT, STEP = 60_000, 3000
LOADER = f"""
import sys
import numpy as np
from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search.scale import clustered_codes

uri, first, last, step = sys.argv[1], *map(int, sys.argv[2:])
codes = clustered_codes({COUNT}, 48, seed=0, flip=0.03)
index = search.build("postgres", Identity{tuple(IDENTITY)}, np.arange(0), codes[:0], uri=uri)
for start in range(first, last, step):
    index.add(np.arange(start, start + {STEP}), codes[start : start + {STEP}])
    print(start, flush=True)
"""


def load_in_a_process(uri, first=0, last=COUNT, step=STEP) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, uri, str(first), str(last), str(step)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def loaded(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def opened(uri, identity=IDENTITY, ids=(), codes=None):
    codes = np.ones((0, identity.bits), np.int8) if codes is None else codes
    return search.build("postgres", identity, np.array(ids, np.int64), codes, uri=uri)


def made_codes(seed, count=COUNT):
    return clustered_codes(count, 48, seed=seed, flip=0.03)


def same_answers(index):
    """Distances and ids, ties too, are those of `flat`."""
    queries = made_codes(seed=1, count=50)
    exact = search.build("flat", IDENTITY, np.arange(COUNT), made_codes(seed=0))
    assert len(exact.search(queries, 1).ids) == 50 and len(exact.groups.words) < COUNT
    assert len(index) == COUNT
    for mine, right in zip(index.search(queries, 100), exact.search(queries, 100), strict=True):
        np.testing.assert_array_equal(mine, right)


def kill_server(folder):
    """SIGKILL to the server and all its processes."""
    postmaster = psutil.Process(int((folder / "data/postmaster.pid").read_text().split()[0]))
    every = [postmaster, *postmaster.children(recursive=True)]
    for process in every:
        process.kill()
    psutil.wait_procs(every, timeout=60)


@pytest.fixture
def own():
    """A folder for a server of one's own."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_load_killed_three_times_resumes_and_loses_nothing(fresh):
    uri = fresh("postgres")
    for batches in (3, 6, 9):  # how far each attempt comes
        process = load_in_a_process(uri)
        for _ in range(batches):
            process.stdout.readline()
        process.kill()
        process.wait()
        assert STEP * batches <= len(opened(uri)) < COUNT, "what add returned for is there"
    loaded(load_in_a_process(uri))
    same_answers(opened(uri))


@pytest.mark.slow
def test_a_server_killed_while_it_adds_keeps_what_add_returned_for(own):
    known = 0
    for batches in (3, 6):
        with search.serve(own) as uri:
            process = load_in_a_process(uri)
            for _ in range(batches):
                process.stdout.readline()
            kill_server(own)
            assert "ConnectionError: the search engine at" in process.communicate(timeout=60)[1]
            assert process.returncode != 0
        with search.serve(own) as uri:
            assert max(known, STEP * batches) <= len(opened(uri)) < COUNT
            known = len(opened(uri))
    with search.serve(own) as uri:
        loaded(load_in_a_process(uri))
        same_answers(opened(uri))


@pytest.mark.slow
@pytest.mark.parametrize(
    "ways",
    [
        ((0, COUNT, STEP), (0, COUNT, STEP)),
        ((0, COUNT, STEP), (COUNT - STEP, -1, -STEP)),
        ((0, COUNT, 2 * STEP), (STEP, COUNT, 2 * STEP)),
    ],
    ids=["the same codes", "from both ends", "every other batch"],
)
def test_two_loaders_at_once_add_each_code_once(ways, fresh):
    uri = fresh("postgres")
    for process in [load_in_a_process(uri, *way) for way in ways]:
        loaded(process)
    same_answers(opened(uri))


def test_a_server_that_is_gone_is_named_and_answers_as_before_when_it_is_back(own, tmp_path):
    with search.serve(own) as uri:
        secret = f"{uri} password=xyzzy"
        index = opened(secret, ids=range(COUNT), codes=made_codes(seed=0))
        index.save(tmp_path / "saved")
        same_answers(index)
    assert "xyzzy" not in (tmp_path / "saved" / "index.json").read_text()
    codes = made_codes(seed=0, count=1)
    for request in (
        lambda: search.load(tmp_path / "saved", IDENTITY),
        lambda: index.search(codes, 1),
        lambda: index.add(np.array([COUNT]), codes),
        lambda: len(index),
        lambda: opened(secret),
    ):
        with pytest.raises(ConnectionError, match=r"the search engine at .* did not") as told:
            request()
        assert "xyzzy" not in str(told.value)
    with search.serve(own) as uri:  # at another place
        same_answers(opened(uri))


def test_a_connection_that_was_cut_is_made_anew(fresh, server):
    index = opened(fresh("postgres"), ids=[1], codes=made_codes(seed=0, count=1))
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [index.connection.info.backend_pid])
    with pytest.raises(ConnectionError, match="did not answer"):
        len(index)
    assert len(index) == 1


def test_codes_that_the_server_lost_since_the_save_are_found_out(fresh, tmp_path):
    index = opened(fresh("postgres"), ids=range(100), codes=made_codes(seed=0, count=100))
    index.save(tmp_path / "saved")
    index.connection.execute(f"TRUNCATE {index.names['items']}, {index.names['codes']}")
    with pytest.raises(ValueError, match="holds 0 of the 100 codes"):
        search.load(tmp_path / "saved", IDENTITY)
    index.connection.execute(f"DROP TABLE {index.names['items']}")
    with pytest.raises(ConnectionError, match="does not exist"):
        len(index)


NAMES = [
    "network-b",
    "",
    "'; DROP TABLE items; --",
    'a"b',
    "{items} %s %%",
    "\0",
    "\udc80",
    "鳥" * 500,
]


def test_each_identity_has_tables_of_its_own_whatever_its_names(fresh):
    uri, codes = fresh("postgres"), made_codes(seed=0, count=10)
    first = opened(uri, ids=range(10), codes=codes)
    for name in NAMES:
        for identity in (IDENTITY._replace(model=name), IDENTITY._replace(data=name)):
            other = opened(uri, identity, range(4), codes[:4])
            assert len(other) == len(opened(uri, identity)) == 4
            assert other.search(codes[:1], 9).distances[0, 0] == 0
            other.close()
    assert len(first) == 10


URIS = {
    "a file": "codes.db",
    "another scheme": "http://localhost:5432/x",
    "half": "postgresql://[",
    "an unknown option": "host=localhost colour=red",
}


@pytest.mark.parametrize("uri", URIS.values(), ids=URIS)
def test_a_uri_that_is_none_is_refused(uri):
    with pytest.raises(ValueError, match="uri must be an address of PostgreSQL"):
        opened(uri)


def test_ids_come_in_any_order_and_ties_by_id(fresh):
    code = np.ones((1, 48), np.int8)
    index = opened(fresh("postgres"), ids=[7], codes=code)
    other = code.copy()
    other[0, 0] = -1
    for id_ in (5, 9, 2):
        index.add(np.array([id_, id_ + 10]), np.vstack([other, code]))
    index.add(np.array([5]), code)  # keeps the code that it has
    hits = index.search(code, 20)
    assert hits.ids.tolist() == [[7, 12, 15, 19, 2, 5, 9]]
    assert hits.distances.tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    for k in range(1, 8):
        assert index.search(code, k).ids.tolist() == [hits.ids[0, :k].tolist()]


def test_who_may_only_read_can_open_and_search(fresh, tmp_path):
    uri, codes = fresh("postgres"), made_codes(seed=0, count=10)
    index = opened(uri, ids=range(10), codes=codes)
    index.save(tmp_path / "saved")
    index.connection.execute("CREATE ROLE reader LOGIN")
    index.connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    header = tmp_path / "saved" / "index.json"
    facts = json.loads(header.read_text())
    header.write_text(
        json.dumps(facts | {"uri": facts["uri"].replace("user=postgres", "user=reader")})
    )
    reader = search.load(tmp_path / "saved", IDENTITY)
    assert reader.search(codes, 10).distances.shape == (10, 10)
    with pytest.raises(ConnectionError, match="permission denied"):
        reader.add(np.array([10]), codes[:1])
    with pytest.raises(ConnectionError, match="permission denied"):
        opened(uri.replace("user=postgres", "user=reader"), IDENTITY._replace(model="b"))


def test_a_server_that_cannot_start_says_why(own):
    (own / "data").mkdir()
    with pytest.raises(ConnectionError, match="did not answer"), search.serve(own):
        pass


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root must hand over to another account"
)
def test_a_folder_that_the_server_s_account_cannot_reach_is_named(tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(ConnectionError, match=r"PostgreSQL cannot use .* \(.*[Pp]ermission denied"):
        search.serve(tmp_path / "served").__enter__()


SERVER = """
import sys, time
from pathlib import Path
from fdhmfe import search
with search.serve(Path(sys.argv[1])):
    print("serving", flush=True)
    time.sleep(600)
"""


def test_the_server_stops_if_the_process_that_started_it_is_killed():
    with TemporaryDirectory() as folder:
        starter = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert starter.stdout.readline() == "serving\n"
        number = int((Path(folder) / "data/postmaster.pid").read_text().split()[0])
        server = psutil.Process(number)
        starter.kill()
        starter.communicate()
        server.wait(timeout=60)  # TimeoutExpired if it goes on
        assert not (Path(folder) / "data/postmaster.pid").exists(), "it stopped in good order"
