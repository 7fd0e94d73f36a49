"""The page as text: both languages complete, one zone, colours that can be read."""

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from itertools import product
from pathlib import Path

import pytest

import consumers.dashboard.pages
from consumers.dashboard.domain import geometry, times
from consumers.dashboard.domain.board import Board
from consumers.dashboard.domain.health import READERS, Pace
from consumers.dashboard.domain.model import Model, Taken
from consumers.dashboard.domain.views import Eye, Heat
from consumers.dashboard.pages import REGIONS, Lang, Pages, Theme, load_words
from schemas.alerts import AlertKind
from schemas.cases import Clock, Level, Stage
from schemas.grid import Role
from tests.builders import GRID, NINE, POLICY, REGISTRY, a_case, seconds

HERE = Path(consumers.dashboard.pages.__file__).parent
CHINA = timezone(timedelta(hours=8))
PAGES = Pages(CHINA)
BOARD = Board(REGISTRY, POLICY)
WORDS = {lang: load_words(lang) for lang in Lang}


def test_both_catalogues_have_the_same_keys_and_places() -> None:
    """A text that one language lacks, or that loses a value, is found here and not by a reader."""
    assert WORDS[Lang.ZH].keys() == WORDS[Lang.EN].keys()
    for key, text in WORDS[Lang.ZH].items():
        assert text.strip(), key
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", WORDS[Lang.EN][key])), key


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("heat", Heat),
        ("pace", Pace),
        ("eye", Eye),
        ("stage", Stage),
        ("clock", Clock),
        ("level", Level),
        ("role", Role),
        ("alert", AlertKind),
        ("reader", READERS),
    ],
)
def test_every_word_of_the_wire_has_a_text_and_a_mark(section: str, words: type[StrEnum]) -> None:
    """A state that a producer may send tomorrow is translated, and has a symbol beside its colour."""
    names = {str(word) for word in words}
    assert {k.partition(".")[2] for k in WORDS[Lang.ZH] if k.startswith(f"{section}.")} == names
    if section in ("heat", "pace", "eye", "alert"):
        marks = set(re.findall(r'<symbol id="(\w+)"', (HERE / "static" / "marks.svg").read_text()))
        assert names <= marks


def test_every_text_is_used() -> None:
    """Catalogues hold no words of pages that are gone."""
    sources = "".join(p.read_text(encoding="utf-8") for p in [*(HERE / "templates").glob("*.html"), HERE / "pages.py"])
    literal = set(re.findall(r"[\"'](\w+\.\w+)[\"']", sources))
    built = set(re.findall(r"\"(\w+)\.\" ~", sources)) | {"heat", "pace", "eye"}  # by the `state` macro
    assert [k for k in WORDS[Lang.ZH] if k not in literal and k.partition(".")[0] not in built] == []


def test_english_pages_have_no_chinese_but_names_of_places_and_cameras() -> None:
    """No untranslated text: what is left in Chinese is marked as such, or is the other language's own name."""
    html = PAGES.page(_view(), Lang.EN, None)
    bare = re.sub(r'<(\w+)[^>]*lang="zh-CN"[^>]*>.*?</\1>', "", html, flags=re.S)
    assert re.findall(r"[\u4e00-\u9fff]+", bare) == []


def test_instants_show_one_zone_and_utc_on_hover() -> None:
    """Nobody has to guess a zone, in either language."""
    at = datetime(2026, 11, 23, 7, 20, 5, tzinfo=UTC)

    assert times.local(at, CHINA) == "2026-11-23 15:20:05 (UTC+8)"
    assert times.local(at, timezone(-timedelta(hours=3, minutes=30))) == "2026-11-23 03:50:05 (UTC-3:30)"
    assert 'title="2026-03-09T09:00:08.000Z">2026-03-09 17:00:08 (UTC+8)</time>' in PAGES.page(_view(), Lang.ZH, None)


def test_the_page_asks_nothing_of_other_machines_and_runs_nothing_inline() -> None:
    """What a strict content security policy would refuse is not written in the first place."""
    html = PAGES.page(_view(), Lang.ZH, Theme.DARK)

    assert re.findall(r"(?:src|href|action)=\"(?:\w+:)?//", html) == []
    assert re.findall(r"\sstyle=|\son\w+=|<script(?![^>]*src=)|<style", html) == []
    assert 'data-theme="dark"' in html


def test_text_from_records_is_escaped() -> None:
    """An id that looks like markup stays text."""
    view = _view(assignee="<b>x</b>")

    assert "<b>x</b>" not in PAGES.regions(view, Lang.ZH).regions["needs"]


def test_regions_are_the_whole_of_what_changes() -> None:
    """A page that has just been loaded equals the first event of its stream."""
    view = _view()
    page, regions = PAGES.page(view, Lang.ZH, None), PAGES.regions(view, Lang.ZH).regions

    assert tuple(regions) == REGIONS
    assert all(html.strip() in page for html in regions.values())


def test_nothing_changes_while_only_time_passes() -> None:
    """Countdowns run in the browser, so a quiet district costs no traffic."""
    first, later = (PAGES.regions(_view(after=s), Lang.ZH).regions for s in (20, 21))

    assert first == later


def test_a_lost_broker_is_said_with_its_instant() -> None:
    """Stale data is greyed and dated, never shown as if it were live."""
    view = BOARD.view(Model(), NINE + seconds(30), lost_since=NINE)

    assert "2026-03-09 17:00:00 (UTC+8)" in PAGES.regions(view, Lang.ZH).regions["banner"]
    assert 'role="alert"' in PAGES.regions(view, Lang.ZH).regions["banner"]


def test_the_map_is_north_up_and_inside_its_box() -> None:
    """Every grid is drawn, within the box, the northern one above the southern."""
    drawing = geometry.draw(list(REGISTRY.grids.values()))
    north, south = drawing.shapes[GRID], drawing.shapes["610117001003005"]

    assert drawing.shapes.keys() == REGISTRY.grids.keys()
    assert north.y < south.y
    for shape in drawing.shapes.values():
        for pair in shape.points.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= drawing.width
            assert 0 <= y <= drawing.height


def test_a_district_without_grids_has_an_empty_map() -> None:
    """The first start with empty data files draws nothing, and does not fail."""
    assert geometry.draw([]).shapes == {}


def _view(after: float = 9, **changes: object):
    """A page with one overdue case on it."""
    model = Model()
    case = a_case(**changes)
    model.take(Taken(key=case.case_id, value=case, appended_at=NINE))
    return BOARD.view(model, NINE + seconds(after), lost_since=None)


HUES = ("clear", "open", "due", "late", "good", "accent")
PAIRS = [
    *product(["text", "muted"], ["ground", "surface", "raised"]),
    *product(["text"], [f"{hue}-soft" for hue in HUES]),
    *[(hue, ground) for hue in HUES for ground in ("surface", "raised", f"{hue}-soft")],
    *[("surface", hue) for hue in HUES],  # the rung where a case is, filled
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_contrasts_as_wcag_aa_asks(ink: str, ground: str, theme: int) -> None:
    """4.5 : 1 for every pair of text and ground that the page uses."""
    css = (HERE / "static" / "page.css").read_text()
    tokens = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", css))

    light, dark = sorted((_luminance(tokens[name].split(", ")[theme]) for name in (ink, ground)), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
