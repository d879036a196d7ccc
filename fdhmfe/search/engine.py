"""The same index in PostgreSQL: on this machine, on another, or with a service. The URI says where.

PostgreSQL 14 or newer will do, without extensions: # is XOR, and `bit_count` counts the ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fdhmfe.codes import WORD, Identity, blocks
from fdhmfe.search import folders
from fdhmfe.search.index import CodeIndex, Hits
from fdhmfe.support.files import content_hash

if TYPE_CHECKING:
    from psycopg import Connection

BATCH = 10_000  # codes per statement: what a killed load has to send again, at most
ANSWERS = 100_000  # items that the server returns at a time
TIMEOUT = 60  # seconds in which a server must take a connection, and a network deliver
SAVED = {"host", "hostaddr", "port", "dbname", "user", "sslmode"}  # in a header: no password

CREATE = """
CREATE TABLE {items} (id bigint PRIMARY KEY, {columns});
CREATE INDEX ON {items} ({words}, id);
CREATE TABLE {codes} ({columns}, first bigint NOT NULL, PRIMARY KEY ({words}));
COMMENT ON TABLE {items} IS {identity};
COMMENT ON TABLE {codes} IS {identity}
"""
# Rows are locked in one order, items before codes: so no two loads wait for each other.
ADD = """
WITH added AS (
    INSERT INTO {items} (id, {words}) SELECT * FROM unnest({arrays}) AS new (id, {words})
    ORDER BY id ON CONFLICT DO NOTHING RETURNING id, {words}
)
INSERT INTO {codes} AS held ({words}, first)
SELECT {words}, min(id) FROM added GROUP BY {words} ORDER BY {words}
ON CONFLICT ({words}) DO UPDATE SET first = excluded.first WHERE excluded.first < held.first
"""
# Of the codes at one distance, the k with the lowest first ids hold the k lowest ids.
SEARCH = """
SELECT id, distance
FROM (
    SELECT {words}, {distance} AS distance FROM {codes} ORDER BY distance, first LIMIT {k}
) AS near
CROSS JOIN LATERAL (
    SELECT id FROM {items} AS held WHERE {same} ORDER BY id LIMIT {k}
) AS item
ORDER BY distance, id LIMIT {k}
"""


class PostgresIndex(CodeIndex):
    """Two tables per identity: items, and the distinct codes, each with its lowest id.

    When `add` returns, its codes are on the server's disk. If a process or the server is killed
    while it adds, run it again: it skips the ids that are there. Many processes may add at once.
    """

    kind = "postgres"

    def __init__(self, identity: Identity, uri: str) -> None:
        """Connect, and create the tables if there are none.

        Raises ImportError if psycopg is not installed, ValueError if `uri` is none of PostgreSQL's,
        ConnectionError if no server answers.
        """
        super().__init__(identity)
        self.uri = uri
        self.connection = connect(uri)
        self.names = names(identity)
        with self._asking("open") as connection, connection.transaction():
            # Of two that open at once, one must see the tables of the other.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self.names["items"]])
            table = connection.execute("SELECT to_regclass(%s)", [self.names["items"]]).fetchone()
            if table == (None,):
                connection.execute(CREATE.format(**self.names))

    def __len__(self) -> int:
        return self._count("{items}")

    def _at_most(self, k: int) -> int:
        return self._count(f"(SELECT FROM {{items}} LIMIT {k}) AS few")  # no need to count all

    def _count(self, rows: str) -> int:
        query = f"SELECT count(*) FROM {rows}".format(**self.names)
        with self._asking("count") as connection:
            return int(connection.execute(query).fetchall()[0][0])

    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        query = ADD.format(**self.names)
        for rows in blocks(len(ids), BATCH):
            columns = [ids[rows], *words[rows].view(np.int64).T]
            with self._asking("add") as connection:
                connection.execute(query, [column.tolist() for column in columns])

    def _search(self, words: np.ndarray, k: int) -> Hits:
        query, found = SEARCH.format(**self.names, k=k), []
        for rows in blocks(len(words), max(1, ANSWERS // k)):
            queries = words[rows].view(np.int64).tolist()
            with self._asking("search") as connection, connection.cursor() as cursor:
                cursor.executemany(query, queries, returning=True)
                found += [answer.fetchall() for answer in cursor.results()]
        ids, distances = np.array(found, np.int64).transpose(2, 0, 1)
        return Hits(ids, distances.astype(np.int32))

    def save(self, folder: Path) -> None:
        """Let the server put its tables in order, and note its URI in the folder, no password."""
        with self._asking("save") as connection:
            connection.execute("VACUUM (ANALYZE) {items}, {codes}".format(**self.names))
        folders.save(folder, self.kind, self.identity, len(self), {}, uri=public(self.uri))

    @classmethod
    def load(cls, folder: Path, identity: Identity, header: dict[str, Any]) -> "PostgresIndex":
        """Connect to the server that the saved index names; PGPASSWORD or ~/.pgpass opens it.

        Raises ValueError if the server holds fewer codes now than when the index was saved, or if
        the index names no server.
        """
        uri = header.get("uri")
        if not isinstance(uri, str) or not is_public(uri):
            raise folders.damaged(folder / folders.HEADER, f"names the engine {uri!r}: none there")
        index = cls(identity, uri)
        if len(index) < header["count"]:
            raise ValueError(
                f"the engine at {uri} holds {len(index)} of the {header['count']} codes that it "
                f"held when {folder} was saved: add all of them again; those there are skipped"
            )
        return index

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    @contextmanager
    def _asking(self, request: str) -> "Iterator[Connection]":
        """A connection, a new one if the last has failed; within, a failure is ConnectionError."""
        from psycopg import Error

        if self.connection.closed:
            self.connection = connect(self.uri)
        try:
            yield self.connection
        except Error as error:
            raise unanswered(self.uri, request, error) from error


def names(identity: Identity) -> dict[str, str]:
    """What the statements are filled with: names and expressions of an identity's tables."""
    from psycopg.sql import Literal

    own, words = content_hash(identity), [f"word{i}" for i in range(-(-identity.bits // WORD))]
    return {
        "items": f"items_{own}",
        "codes": f"codes_{own}",
        "identity": Literal(ascii(identity._asdict())).as_string(),
        "words": ", ".join(words),
        "columns": ", ".join(f"{word} bigint NOT NULL" for word in words),
        "arrays": ", ".join(["%b::bigint[]"] * (1 + len(words))),
        "distance": " + ".join(f"bit_count(int8send({word} # %s::bigint))" for word in words),
        "same": " AND ".join(f"held.{word} = near.{word}" for word in words),
    }


def connect(uri: str) -> "Connection":
    """A connection on which each statement counts as soon as it is answered."""
    parts(uri)
    import psycopg

    limits: dict[str, Any] = {"connect_timeout": TIMEOUT, "keepalives_idle": TIMEOUT}
    try:
        return psycopg.connect(uri, autocommit=True, tcp_user_timeout=1000 * TIMEOUT, **limits)
    except psycopg.Error as error:
        raise unanswered(uri, "connect", error) from error


def parts(uri: str) -> dict[str, Any]:
    """What a uri says, by libpq's names; ImportError without psycopg, ValueError if it is none."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:  # its binary part may be what is missing
        raise ImportError("the engine needs psycopg: pip install 'fdhmfe[engine]'") from error
    try:
        return conninfo_to_dict(uri)
    except ProgrammingError as error:
        raise ValueError(
            "uri must be an address of PostgreSQL, like postgresql://user@host:5432/database"
        ) from error  # it may hold a password, so it is not shown


def public(uri: str) -> str:
    """The uri without a password."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**{name: value for name, value in parts(uri).items() if name in SAVED})


def is_public(uri: str) -> bool:
    """Whether `public` may have made it: a stranger's header must not name files of ours."""
    try:
        return bool(uri) and parts(uri).keys() <= SAVED
    except ValueError:
        return False


def unanswered(uri: str, request: str, error: Exception) -> ConnectionError:
    reason = " ".join(str(error).split())[:200]
    return ConnectionError(
        f"the search engine at {public(uri)} did not answer ({request}: {reason}). Start it, or "
        "give another uri; the codes that were added before are kept"
    )
