"""No phone number, identity number or mail address leaves the intake inside free text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.reports.domain.scrub import IDENTITY_MASK, MAIL_MASK, MASK, scrub

GAPS = ["", " ", "-", "·", ".", " - ", "—", "\u3000", "－", "/", ") "]
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")

mobiles = st.from_regex(r"\A1[3-9][0-9]{9}\Z").map(str)
words = st.text(alphabet="东张市村报:,。渠边ab\n", max_size=20)


@pytest.mark.parametrize(
    "written",
    [
        "13900001234",
        "139 0000 1234",
        "139-0000-1234",
        "139 - 0000 - 1234",
        "1 3 9 0 0 0 0 1 2 3 4",
        "139\u30000000\u30001234",
        "１３９００００１２３４",
        "１３９－００００－１２３４",
        "+86 13900001234",
        "0086-139-0000-1234",
        "8613900001234",
        "＋８６１３９００００１２３４",
        "(139)00001234",
        "（139）0000.1234",
    ],
)
def test_every_usual_way_of_writing_a_mobile_is_masked(written: str) -> None:
    """Separators, full-width digits and the country code do not hide a number."""
    assert scrub(f"联系电话{written},谢谢") == f"联系电话{MASK},谢谢"


@pytest.mark.parametrize(
    ("written", "mask"),
    [
        ("61011720000101123X", IDENTITY_MASK),
        ("610117 20000101 1234", IDENTITY_MASK),
        ("610117-20000101-123x", IDENTITY_MASK),
        ("６１０１１７１９９９１２３１１２３Ｘ", IDENTITY_MASK),
        ("zhang.san+1@example.com.cn", MAIL_MASK),
        ("zhang＠example．com", MAIL_MASK),
    ],
)
def test_identity_numbers_and_mail_addresses_are_masked(written: str, mask: str) -> None:
    """They name a person as surely as a phone number does."""
    assert scrub(f"本人{written},请回复") == f"本人{mask},请回复"


@pytest.mark.parametrize(
    "harmless",
    [
        "610117001001001",  # a grid
        "610117200013011234",  # no such month
        "第12345678901234号",
        "1、2、3、4、5、6、7、8、9、10号楼",
        "1 2 3 4 5 6 7 8 9 10",
        "1、3、5、7、9、11、13、15号",
        "2026-03-09 09:00:00",
        "12345678901",  # no mobile starts with 12
        "029-86912345",
    ],
)
def test_other_numbers_stay(harmless: str) -> None:
    """Grid ids, house numbers and times are what the report is about."""
    assert scrub(harmless) == harmless


@given(
    before=words,
    after=words,
    mobile=mobiles,
    gaps=st.lists(st.sampled_from(GAPS), min_size=10, max_size=10),
    wide=st.booleans(),
)
def test_no_digits_of_a_mobile_survive(before: str, after: str, mobile: str, gaps: list[str], wide: bool) -> None:
    """However it is spaced and wherever it stands, the number goes and the words stay."""
    digits = mobile.translate(WIDE) if wide else mobile
    written = "".join(digit + gap for digit, gap in zip(digits, [*gaps, ""], strict=True))

    scrubbed = scrub(f"{before}:{written}:{after}")

    assert scrubbed == f"{before}:{MASK}:{after}"


@given(st.text(alphabet="0123456789 -.１３９东,x", max_size=60))
def test_scrubbing_once_is_enough(text: str) -> None:
    """A second pass finds nothing, and no run of eleven digits that could be a mobile is left."""
    once = scrub(text)

    assert scrub(once) == once
    assert not re.search(r"(?<!\d)1[3-9][0-9]{9}(?!\d)", once)
