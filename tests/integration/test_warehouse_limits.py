"""The user's hard limit and the places, on a real engine in this process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from infra.local.warehouse.access import User
from infra.local.warehouse.engine import OWN_READERS, Engine, open_engine
from infra.local.warehouse.server import Warehouse

LIMIT_S = 0.5
USERS = {
    "w": User(name="w", password="w", writes=True, limit_s=None),
    "r": User(name="r", password="r", writes=False, limit_s=LIMIT_S, caps={"max_result_rows": 100}),
}
ENDLESS = "SELECT count() FROM numbers(100000000000000)"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(tmp_path_factory.mktemp("warehouse"), "lake") as engine:
        yield engine


@asynccontextmanager
async def asking(engine: Engine, **bounds: int) -> AsyncIterator[httpx.AsyncClient]:
    app = Warehouse(engine, USERS, **bounds)
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


async def test_a_result_has_a_row_limit_that_sql_does_not_lift(engine: Engine) -> None:
    """A reader gets as many rows as its cap, beside the SQL fewer but never more; the writer has none."""
    async with asking(engine) as client:
        query = "SELECT number FROM numbers(101)"
        over = await client.post("/", content=query)
        lifted = await client.post("/?max_result_rows=1000", content=query)
        in_sql = await client.post("/", content=f"{query} SETTINGS max_result_rows = 1000")
        whole = await client.post("/", content="SELECT 1 FORMAT JSON SETTINGS max_result_bytes = 0")
        lower = await client.post("/?max_result_rows=5", content="SELECT number FROM numbers(6)")
        within = await client.post("/", content="SELECT count() FROM (SELECT number FROM numbers(101))")
        written = await client.post("/", auth=("w", "w"), content=query)

    codes = [answer.headers.get("x-clickhouse-exception-code") for answer in (over, lifted, in_sql, whole, lower)]
    assert codes == ["396", "396", "164", "164", "396"]
    assert within.text == "101\n"
    assert len(written.text.splitlines()) == 101


async def test_what_is_held_in_memory_whole_is_bounded(engine: Engine) -> None:
    """A format that cannot be streamed has a limit of bytes, also in a session; the same rows stream without one."""
    query = "SELECT number FROM numbers(50000)"
    async with asking(engine, whole_bytes=100_000) as client:
        await client.post("/?session_id=s", auth=("w", "w"), content="SET max_threads = 1")
        whole = await client.post("/", auth=("w", "w"), content=f"{query} FORMAT JSON")
        kept = await client.post("/?session_id=s", auth=("w", "w"), content=f"{query} FORMAT JSON")
        streamed = await client.post("/?session_id=s", auth=("w", "w"), content=f"{query} FORMAT JSONEachRow")

    assert [answer.headers["x-clickhouse-exception-code"] for answer in (whole, kept)] == ["396", "396"]
    assert len(streamed.text.splitlines()) == 50_000


async def test_more_waiting_queries_than_would_ever_run_are_refused_at_once(engine: Engine) -> None:
    """Places and queue full, the next one is told so with ClickHouse's code while the others wait on.

    Clients that leave at whatever moment give their places back: the same again finds them free.
    """
    for _ in range(10):
        async with asyncio.timeout(LIMIT_S * 60), asking(engine) as client:
            asked = [
                asyncio.ensure_future(client.post("/", auth=("w", "w"), content=ENDLESS))
                for _ in range(OWN_READERS + 101)
            ]
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

        [refused] = [one.result() for one in done]
        assert (refused.status_code, refused.headers["x-clickhouse-exception-code"]) == (429, "202")


async def test_a_query_id_is_one_querys(engine: Engine) -> None:
    """While it runs, the same id is refused; after a kill its client has ClickHouse's code, and the id is free."""
    async with asyncio.timeout(LIMIT_S * 60), asking(engine) as client:
        asked = [asyncio.ensure_future(client.post("/?query_id=q", auth=("w", "w"), content=ENDLESS)) for _ in "12"]
        [again], [first] = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        kill = "KILL QUERY WHERE query_id = 'q' FORMAT TSV"
        not_mine = await client.post("/", content=kill)
        killed = await client.post("/", auth=("w", "w"), content=kill)
        ended = await first
        free = await client.post("/?query_id=q", auth=("w", "w"), content="SELECT 1")

    codes = [answer.headers["x-clickhouse-exception-code"] for answer in (again.result(), ended)]
    assert codes == ["216", "394"]
    assert (not_mine.text, killed.text, free.text) == ("", "waiting\tq\tw\n", "1\n")
