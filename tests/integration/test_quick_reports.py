"""The quick door against the route behind it: the same answer to every body, without a broker."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from infra.settings import Settings
from producers.reports.http import MAX_BODY_BYTES, create_app
from producers.reports.quick import QuickReports
from producers.reports.spool import Limits, Spool
from tests.integration.test_intake import a_body

JSON = {"content-type": "application/json"}
ROOM = Limits(entries=100, size_bytes=1 << 20, free_bytes=0)


def requests() -> list[tuple[bytes, dict[str, str]]]:
    """Return what a client may send, in order: repeats and conflicts need what came before."""

    def body(**changes: Any) -> bytes:
        return json.dumps(a_body(**changes), ensure_ascii=False).encode()

    return [
        (body(report_id="q-1"), JSON),
        (body(report_id="q-1"), JSON),
        (body(report_id="q-1", description="another"), JSON),
        (body(report_id=None), JSON | {"idempotency-key": "q-2"}),
        (body(report_id=None), JSON | {"idempotency-key": "two words"}),
        (body(report_id="q-3", grid_id="6" * 15), JSON),
        (body(report_id="q-3", occurred_at="yesterday"), JSON),
        (body(report_id="q-3", media=["photo:" + "0" * 64]), JSON),
        (body(report_id="q-3", grid_id="here"), JSON),
        (body(report_id="q-4", location={"lat": "34.54", "long": 109.05}), JSON),
        (body(report_id="q-5"), {}),
        (body(report_id="q-6", more=1), JSON),
        (b"{", JSON),
        (b"[" * 100_000, JSON),
        (b"", JSON),
        (b'{"description": "\xff"}', JSON),
        (b" " * (MAX_BODY_BYTES + 1), JSON),
    ]


def door(app: Any, *, is_quick: bool) -> httpx.AsyncClient:
    served: Any = QuickReports(app, app.state, MAX_BODY_BYTES) if is_quick else app
    return httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://x")


async def answers(data_dir: Path, *, is_quick: bool) -> list[tuple[int, str, bytes]]:
    settings = Settings(data_dir=data_dir, kafka="127.0.0.1:1", follow_secret=SecretStr("the same"))
    with Spool(data_dir / "spool", ROOM) as spool:
        app = create_app(settings, spool)
        async with app.lifespan(), door(app, is_quick=is_quick) as client:
            found = [await client.post("/reports", content=content, headers=headers) for content, headers in requests()]
            stored = (spool.pending, "reports are on disk", b"")
    return [stored, *((answer.status_code, answer.headers["content-type"], answer.content) for answer in found)]


async def test_the_quick_door_answers_as_the_route_does(tmp_path: Path) -> None:
    """Status, type and body of each answer, and how many reports are on disk."""
    quick, route = await asyncio.gather(
        answers(tmp_path / "quick", is_quick=True), answers(tmp_path / "route", is_quick=False)
    )

    assert quick == route
    assert [status for status, _, _ in quick[1:7]] == [201, 201, 409, 201, 400, 422]


async def test_a_report_is_counted_once(tmp_path: Path) -> None:
    """Two a minute are two, also when the second is none; the third is told when to come back."""
    settings = Settings(data_dir=tmp_path, kafka="127.0.0.1:1", reports_per_min=2, gateways="")
    with Spool(tmp_path / "spool", ROOM) as spool:
        app = create_app(settings, spool)
        async with app.lifespan(), door(app, is_quick=True) as client:
            bodies = [a_body(report_id=None), {}, a_body(report_id=None)]
            found = [await client.post("/reports", json=body) for body in bodies]

    assert [answer.status_code for answer in found] == [201, 400, 429]
    assert int(found[2].headers["retry-after"]) > 0
