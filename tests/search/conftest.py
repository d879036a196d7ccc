"""A PostgreSQL server for the tests of search, emptied for each test that asks for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fdhmfe import search


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The uri of a server that runs until the last test has ended."""
    if not search.engine_installed():
        pytest.skip("PostgreSQL is not installed (the extras `engine` and `test`)")
    # Not pytest's own folder: if root runs the tests, the server's account cannot reach that.
    with TemporaryDirectory() as folder, search.serve(Path(folder)) as uri:
        yield uri


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Gives the uri of an empty server for the kind `postgres`, none for the others."""

    def uri(kind: str) -> str:
        if kind != "postgres":
            return ""
        import psycopg

        server: str = request.getfixturevalue("server")
        with psycopg.connect(server, autocommit=True) as connection:
            tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            for (table,) in connection.execute(tables).fetchall():
                connection.execute(f"DROP TABLE {table}")
        return server

    return uri
