"""The page's HTTP side: HTML, one event stream, a JSON snapshot, health. It only moves data.

A stream is pulled: each client's generator renders the newest state when the client has
taken the last one, so a slow client skips states and holds no queue.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.datastructures import CacheControlHeader, Cookie, MutableScopeHeaders, State
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.params import CookieParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.static_files import create_static_files_router
from litestar.types import Message, Scope

from consumers.dashboard.domain.board import Board
from consumers.dashboard.domain.views import View
from consumers.dashboard.feed import Feed
from consumers.dashboard.feed import State as FeedState
from consumers.dashboard.pages import Lang, Pages, Rendered, Theme
from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.policy import load_policy
from schemas.registry import load_registry

UPDATE_EVERY_S: Final = 0.5
HEARTBEAT_S: Final = 2.0  # the page calls itself stale after 5 s without one
MAX_CLIENTS: Final = 200
_YEAR_S = 365 * 24 * 3600
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Screen:
    """What clients look at; renders each language and focus at most once per half second."""

    def __init__(self, board: Board, feed: FeedState, zone: tzinfo) -> None:
        self.board, self.feed, self.pages = board, feed, Pages(zone)
        self.clients = 0
        self.is_closing = False
        self._rendered: dict[tuple[Lang, str | None], tuple[float, Rendered]] = {}

    def view(self, grid: str | None) -> View:
        """Return the view of this moment, narrowed to *grid*.

        Raises:
            NotFoundException: the district has no such grid.
        """
        if grid is not None and not self.board.has_grid(grid):
            raise NotFoundException("no such grid")
        return self.feed.view(self.board, grid)

    def regions(self, lang: Lang, grid: str | None) -> Rendered:
        """Return the regions as they were at most half a second ago."""
        at, rendered = self._rendered.get((lang, grid), (0.0, None))
        if rendered is None or monotonic_s() - at >= UPDATE_EVERY_S:
            rendered = self.pages.regions(self.view(grid), lang)
            self._rendered[lang, grid] = (monotonic_s(), rendered)
        return rendered


async def updates(screen: Screen, lang: Lang, grid: str | None) -> AsyncIterator[ServerSentEventMessage]:
    """Yield everything, then what has changed: at most two events a second, at least one every 2 s."""
    sent: dict[str, str] = {}
    quiet_since = 0.0
    screen.clients += 1
    try:
        while not screen.is_closing:
            rendered = screen.regions(lang, grid)
            changed = {name: html for name, html in rendered.regions.items() if sent.get(name) != html}
            if changed or monotonic_s() - quiet_since >= HEARTBEAT_S:
                yield ServerSentEventMessage(msgspec.json.encode(Rendered(rendered.now, changed)), event="update")
                sent, quiet_since = rendered.regions, monotonic_s()
            await asyncio.sleep(UPDATE_EVERY_S)
    finally:
        screen.clients -= 1


@get("/", media_type=MediaType.HTML, sync_to_thread=False)
def page(
    state: State,
    lang: Lang | None = None,
    grid: str | None = None,
    chosen: Annotated[str | None, CookieParameter(name="lang")] = None,
    theme: Annotated[str | None, CookieParameter(name="theme")] = None,
) -> Response[str]:
    """Return the page as it is now; it works without JavaScript, then reloading itself."""
    screen: Screen = state.screen
    language = lang or _member(Lang, chosen) or Lang.ZH
    html = screen.pages.page(screen.view(grid), language, _member(Theme, theme))
    cookies = [Cookie("lang", value=lang.value, max_age=_YEAR_S, samesite="lax", httponly=True)] if lang else []
    return Response(html, media_type=MediaType.HTML, cookies=cookies)


def _member(kind: Any, text: str | None) -> Any:
    """Return the member of an enum that a cookie names, or None."""
    return kind(text) if text in list(kind) else None


@get("/events", sync_to_thread=False)
def events(state: State, lang: Lang = Lang.ZH, grid: str | None = None) -> ServerSentEvent:
    """Stream the page's changes; the first event has all of it."""
    screen: Screen = state.screen
    screen.view(grid)
    if screen.clients >= MAX_CLIENTS:
        raise ServiceUnavailableException("too many pages are open", headers={"Retry-After": "30"})
    return ServerSentEvent(updates(screen, lang, grid), retry_duration=2000)


@get("/api/state", sync_to_thread=False)
def snapshot(state: State, grid: str | None = None) -> View:
    """Return the view as JSON, for scripts and tests."""
    screen: Screen = state.screen
    return screen.view(grid)


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz(state: State) -> Response[str]:
    """Answer 200 when the topics have been read to their end and the broker answers."""
    problem = state.screen.feed.problem
    return Response(problem or "ok", status_code=503 if problem else 200)


async def _protect(message: Message, _: Scope) -> None:
    """Forbid other origins in every answer; Litestar's `response_headers` leave out files and errors."""
    if message["type"] == "http.response.start":
        MutableScopeHeaders(message).update(_HEADERS)


def create_app(settings: Settings, zone: tzinfo) -> Litestar:
    """Return the page; it connects when it starts, and shows instants in *zone*.

    Raises:
        SetupError: a data file of the district is wrong.
    """
    board = Board(load_registry(settings.district_dir), load_policy(settings.district_dir))
    feed_state = FeedState()

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        feed = Feed(settings, feed_state)
        feed.start()
        yield
        await asyncio.to_thread(feed.stop)

    static = create_static_files_router(
        "/static", [Path(__file__).parent / "static"], cache_control=CacheControlHeader(no_cache=True)
    )
    return Litestar(
        [page, events, snapshot, healthz, static],
        lifespan=[lifespan],
        state=State({"screen": Screen(board, feed_state, zone)}),
        before_send=[_protect],
        openapi_config=None,
        logging_config=None,  # infra.logs has set logging up
    )
