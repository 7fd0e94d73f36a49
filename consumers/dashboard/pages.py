"""The page as HTML: templates, words of both languages, and the regions that are sent again when they change."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, tzinfo
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from consumers.dashboard.domain import times
from consumers.dashboard.domain.geometry import sparkline
from consumers.dashboard.domain.views import Heat, Names, View
from schemas.cases import Level

_HERE = Path(__file__).parent
REGIONS: Final = ("banner", "counts", "map", "needs", "topics", "alerts", "cameras")


class Lang(StrEnum):
    """Languages of the page, the first one unless asked otherwise."""

    ZH = "zh"
    EN = "en"


class Theme(StrEnum):
    """What a reader may choose over the system's own preference."""

    DARK = "dark"
    LIGHT = "light"


class Rendered(Struct, frozen=True):
    """Every region's HTML at one instant."""

    now: datetime
    regions: dict[str, str]


def load_words(lang: Lang) -> dict[str, str]:
    """Return the catalogue of *lang* as `section.key` to text."""
    sections = tomllib.loads((_HERE / "text" / f"{lang}.toml").read_text(encoding="utf-8"))
    return {f"{section}.{key}": text for section, words in sections.items() for key, text in words.items()}


class Pages:
    """Renders views; instants appear in *zone* everywhere."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._environments = {lang: self._environment(lang) for lang in Lang}

    def page(self, view: View, lang: Lang, theme: Theme | None) -> str:
        """Return the whole page."""
        template = self._environments[lang].get_template("page.html")
        regions = {name: Markup(html) for name, html in self.regions(view, lang).regions.items()}  # noqa: S704 - ours
        return template.render(view=view, lang=lang, theme=theme, regions=regions)

    def regions(self, view: View, lang: Lang) -> Rendered:
        """Return the parts of the page that change, by region."""
        environment = self._environments[lang]
        return Rendered(view.now, {n: environment.get_template(f"{n}.html").render(view=view) for n in REGIONS})

    def _environment(self, lang: Lang) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        words = load_words(lang)
        environment.globals |= {
            "t": partial(_text, words),
            "name": partial(_name, lang),
            "when": partial(_when, self._zone),
            "iso": times.utc,
            "zone": lambda at: times.zone_name(at.astimezone(self._zone)),
            "span": partial(_span, words),
            "sparkline": sparkline,
            "Heat": Heat,
            "Level": Level,
            "Lang": Lang,
        }
        return environment


def _text(words: Mapping[str, str], key: str, **values: Any) -> str:
    return words[key].format(**values) if values else words[key]


def _name(lang: Lang, names: Names) -> str:
    return names.zh if lang is Lang.ZH else names.en


def _when(zone: tzinfo, at: datetime) -> Markup:
    """Return an instant in the page's zone, with UTC for machines and on hover."""
    raw = times.utc(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(raw, raw, times.local(at, zone))


def _span(words: Mapping[str, str], ms: int) -> str:
    """Return a duration with the unit that leaves a number a person can read."""
    if ms < 1000:
        return f"{ms} {words['topics.ms']}"
    return f"{ms // 1000} {words['topics.s']}" if ms < 120_000 else f"{ms // 60_000} {words['topics.min']}"
