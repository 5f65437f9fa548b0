"""Names that a run gives: `{{ run_date:%Y%m }}` in target tables and prefixes.

Between the braces stands a time as variables have it (`now-90d`, `data_interval_start-1M`), after a
colon how it is written; without one as a day. `{{ task }}` and `{{ job }}` are their names. This is
all there is: nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from dsp_airflow.config.errors import nearest
from dsp_airflow.config.findings import invalid
from dsp_airflow.config.names import check_table, split_table
from dsp_airflow.config.variables import ANCHORS, TimeVariable, parse_variable

DAY: Final = "%Y-%m-%d"
WORDS: Final = ("task", "job")
_PLACE: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_DIGITS: Final = {
    **dict.fromkeys("YG", 4),
    **dict.fromkeys("mdHMSV", 2),
    "j": 3,
}
"""Of each directive. They are written in UTC."""
_CLOCK: Final = "HMS"
_IN_TABLES: Final = re.compile(r"[A-Za-z0-9_-]*")
_IN_PREFIXES: Final = re.compile(r"[A-Za-z0-9_=./-]*")
_SAMPLE: Final = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """What stands between braces: a word, or a time and how it is written."""

    what: str | TimeVariable
    form: str = DAY

    def __str__(self) -> str:
        form = f":{self.form}" if isinstance(self.what, TimeVariable) else ""
        return f"{{{{ {self.what}{form} }}}}"

    def written(self, moment: date) -> str:
        """The time in this form."""
        return re.sub(r"%(.)", lambda match: _directive(moment, match[1]), self.form)

    @property
    def like(self) -> str:
        """A regular expression of what it can be written as."""
        parts = re.split(r"%(.)", self.form)
        return "".join(
            rf"\d{{{_DIGITS[part]}}}" if n % 2 else re.escape(part) for n, part in enumerate(parts)
        )


def is_template(text: str) -> bool:
    """Whether a run has to give the name."""
    return "{{" in text


def pieces(text: str) -> list[str | Place]:
    """Texts and places, in turn; the text is one that was checked."""
    return [
        _place(part, _IN_PREFIXES) if n % 2 else part for n, part in enumerate(_PLACE.split(text))
    ]


def texts(text: str) -> list[str]:
    """What stands between the places."""
    return _PLACE.split(text)[::2]


def may_be(text: str, name: str) -> bool:
    """Whether some run may give the template this name; a plain text is that name."""
    pattern = ".*".join(re.escape(part) for part in texts(text))
    return re.fullmatch(pattern, name, re.DOTALL) is not None


def moments(text: str) -> dict[str, TimeVariable]:
    """The times that a run has to know, by their texts."""
    found = (piece.what for piece in pieces(text) if isinstance(piece, Place))
    return {str(what): what for what in found if isinstance(what, TimeVariable)}


def filled(text: str, words: Mapping[str, str], times: Mapping[str, date]) -> str:
    """The name in one run; ``times`` are those of ``moments``."""

    def of(piece: str | Place) -> str:
        if isinstance(piece, str):
            return piece
        if isinstance(piece.what, TimeVariable):
            return piece.written(times[str(piece.what)])
        return words[piece.what]

    return "".join(map(of, pieces(text)))


def check(text: str, allowed: re.Pattern[str]) -> str:
    """The text with a sample in every place; raises for a place that means nothing."""
    for match in _PLACE.finditer(text):
        _place(match[1], allowed)
    rest = _PLACE.sub("", text)
    if "{" in rest or "}" in rest:
        raise invalid("has braces that do not hold a name: write them as {{ run_date }}")

    def sample(match: re.Match[str]) -> str:
        place = _place(match[1], allowed)
        return place.written(_SAMPLE) if isinstance(place.what, TimeVariable) else place.what

    return _PLACE.sub(sample, text)


def check_prefix_places(text: str) -> str:
    """The prefix with samples."""
    return check(text, _IN_PREFIXES)


def check_target_table(text: str) -> str:
    """Returns the name of a table that is written, which a run may have to complete."""
    check_table(check(text, _IN_TABLES) if is_template(text) else text)
    return text


def split_target(text: str) -> tuple[str, ...]:
    """As ``split_table``, with every place in its one form."""
    places = [str(piece) for piece in pieces(text) if isinstance(piece, Place)]
    numbers = iter(range(len(places)))
    marked = _PLACE.sub(lambda _: f"\ue000{next(numbers)}\ue001", text)

    def again(part: str) -> str:
        return re.sub("\ue000(\\d+)\ue001", lambda match: places[int(match[1])], part)

    return tuple(map(again, split_table(marked)))


def _place(text: str, allowed: re.Pattern[str]) -> Place:
    what, colon, form = text.partition(":")
    what, form = what.strip(), form.strip()
    if what in WORDS:
        if colon:
            raise invalid(f"{{{{ {what} }}}} is a name and has no form; remove :{form}")
        return Place(what)
    anchor = re.match(r"[A-Za-z_]*", what)
    variable = parse_variable(what) if anchor and anchor[0] in ANCHORS else None
    if not isinstance(variable, TimeVariable):
        raise invalid(
            f"knows no {what or 'empty name'!r}; it may name {', '.join((*ANCHORS, *WORDS))}",
            nearest(what, (*ANCHORS, *WORDS)),
        )
    if colon:
        _check_form(variable, form, allowed)
    return Place(variable, form if colon else DAY)


def _check_form(variable: TimeVariable, form: str, allowed: re.Pattern[str]) -> None:
    directives = re.findall(r"%(.?)", form)
    unknown = next((one for one in directives if one not in _DIGITS or not one), None)
    if unknown is not None:
        raise invalid(
            f"{{{{ {variable} }}}} has no form %{unknown}; known are "
            + ", ".join(f"%{name}" for name in _DIGITS)
        )
    if not directives:
        raise invalid(f"{{{{ {variable}: }}}} needs a form such as %Y%m")
    rest = re.sub(r"%.", "", form)
    if not allowed.fullmatch(rest):
        wrong = next(char for char in rest if not allowed.fullmatch(char))
        raise invalid(f"a form here must not have {wrong!r}; write it outside of the braces")
    if variable.anchor == "run_date" and set(directives) & set(_CLOCK):
        raise invalid("run_date is a date and has no hours; use now for times")
    if "V" in directives and "G" not in directives:
        raise invalid("%V, the number of the week, needs %G, the year that the week is of")


def _directive(moment: date, name: str) -> str:
    year, week, _ = moment.isocalendar()
    make: dict[str, Callable[[], int]] = {
        "Y": lambda: moment.year,
        "m": lambda: moment.month,
        "d": lambda: moment.day,
        "j": lambda: moment.timetuple().tm_yday,
        "G": lambda: year,
        "V": lambda: week,
    }
    if isinstance(moment, datetime):
        make |= {
            "H": lambda: moment.hour,
            "M": lambda: moment.minute,
            "S": lambda: moment.second,
        }
    return f"{make[name]():0{_DIGITS[name]}d}"
