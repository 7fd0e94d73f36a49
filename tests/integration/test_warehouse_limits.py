"""The user's hard limit and the places, on a real engine in this process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from infra.local.warehouse.access import User
from infra.local.warehouse.engine import Engine, open_engine
from infra.local.warehouse.server import Warehouse

LIMIT_S = 0.5
USERS = {
    "w": User(name="w", password="w", writes=True, limit_s=None),
    "r": User(name="r", password="r", writes=False, limit_s=LIMIT_S),
}
ENDLESS = "SELECT count() FROM numbers(100000000000000)"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(tmp_path_factory.mktemp("warehouse"), "lake") as engine:
        yield engine


@asynccontextmanager
async def asking(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    app = Warehouse(engine, USERS)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://warehouse", auth=("r", "r")) as client:
        yield client
    app.close()


@pytest.mark.parametrize(
    "text",
    [
        f"{ENDLESS} SETTINGS max_execution_time = 0",
        f"{ENDLESS} FORMAT JSON SETTINGS max_execution_time = 0",
        "SELECT sleepEachRow(0.1) FROM numbers(1000) SETTINGS function_sleep_max_microseconds_per_block = 1000000000",
    ],
)
async def test_no_setting_lifts_the_limit_of_a_user(engine: Engine, text: str) -> None:
    """Time is up outside SQL: the client is told, the query is killed, its place is free again."""
    async with asyncio.timeout(LIMIT_S * 10), asking(engine) as client:
        cut = await client.post("/", content=text)
        left = await client.post("/", auth=("w", "w"), content="SELECT count() FROM system.processes")

    assert (cut.status_code, cut.headers["x-clickhouse-exception-code"]) == (408, "159")
    assert left.text == "1\n"


async def test_a_session_survives_its_killed_query(engine: Engine) -> None:
    """What the session remembered is there after the limit has cut a query of it."""
    async with asking(engine) as client:
        url = "/?session_id=s"
        await client.post(url, content="SET max_threads = 1")
        cut = await client.post(url, content=ENDLESS)
        after = await client.post(url, content="SELECT getSetting('max_threads')")

    assert (cut.status_code, after.text) == (408, "1\n")


async def test_sessions_of_two_users_are_apart(engine: Engine) -> None:
    """The same name is another session for another user."""
    async with asking(engine) as client:
        await client.post("/?session_id=s", content="SET max_threads = 1", auth=("w", "w"))
        theirs = await client.post("/?session_id=s", content="SELECT getSetting('max_threads')")

    assert theirs.text != "1\n"


async def test_a_session_ends(engine: Engine) -> None:
    """Its timeout after its last request, nothing of it is left."""
    async with asking(engine) as client:
        url = "/?session_id=brief&session_timeout=0"
        await client.post(url, content="SET max_threads = 1")
        after = await client.post(url, content="SELECT getSetting('max_threads')")

    assert after.text != "1\n"


async def test_memory_is_bounded_for_all(engine: Engine) -> None:
    """A query that wants more than its share ends with code 241 and leaves the process alive."""
    async with asking(engine) as client:
        hungry = await client.post("/", auth=("w", "w"), content="SELECT length(arrayJoin([repeat('x', 2000000000)]))")
        next_one = await client.post("/", auth=("w", "w"), content="SELECT 1")

    assert hungry.status_code >= 400
    assert next_one.text == "1\n"
