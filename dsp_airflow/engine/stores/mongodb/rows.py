"""Documents as rows: what a job's columns make of them, as canonical texts.

Everything that is asked of mapped documents (digests, hashes, Arrow, what is sent to a target) is
made of these texts, so that it cannot differ from what was proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import bson
from bson.errors import BSONError, InvalidBSON

from dsp_airflow.engine.canon import python_digest_md5, python_row_hash_md5
from dsp_airflow.engine.canon.mongodb import OPTIONS, Misfit, mongodb_value
from dsp_airflow.engine.canon.printed import printed, unprinted
from dsp_airflow.engine.errors import BadValue
from dsp_airflow.engine.model import (
    Digest,
    Field,
    Key,
    KeyColumn,
    LossCount,
    Projection,
    RowHash,
)
from dsp_airflow.engine.stores.mongodb.reading import (
    KEY,
    Reading,
    is_accepted,
    read,
    reading_of,
    tree_of,
    unmapped,
)
from dsp_airflow.engine.stores.mongodb.text import key_text, key_value

METHOD: Final = "md5"
NAMED: Final = 5
"""Fields that a reason names."""


def is_reading(column: KeyColumn) -> bool:
    """Whether a key is told by a field's own text, and not as extended JSON."""
    return column.column.startswith("{")


class Rows:
    """Reads documents as the rows of a projection. ``losses`` counts what its policies did."""

    def __init__(self, what: Projection) -> None:
        self.what = what
        self.losses: Counter[tuple[str, str]] = Counter()
        self._fields = [(f, reading_of(f.expression)) for f in what.fields]
        self._width = len(what.key)
        self._whole = any(reading.whole for _, reading in self._fields)
        self._tree = tree_of([reading.parts for _, reading in self._fields])

    def texts(self, raw: bytes) -> list[str | None]:
        """The row's canonical texts. ``BadValue`` names the document, never a value."""
        return self._texts(decoded(raw), raw)

    def _texts(self, document: Mapping[str, Any], raw: bytes) -> list[str | None]:
        found: list[str | None] = []
        for field, reading in self._fields:
            if reading.whole:
                found.append(raw.hex() if field.type.name == "bytes" else key_text(document["_id"]))
                continue
            try:
                made = read(document, reading, field.type)
            except Misfit as error:
                raise BadValue(self._refusal(document, field, reading, error)) from error
            if made.rule:
                self.losses[field.column, made.rule] += 1
            found.append(made.text)
        return found

    def kept(self, raw: bytes) -> str:
        """Why the document may not be deleted: fields that no column holds; empty when it may."""
        return self._kept(decoded(raw))

    def _kept(self, document: Mapping[str, Any]) -> str:
        if self._whole:
            return ""
        lost = unmapped(document, self._tree)
        names = [path for path in lost if not is_accepted(path, self.what.accepted)]
        if not names:
            return ""
        shown = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
        return f"no column holds its {shown}; map it, or list it under accept_loss"

    def hash(self, raw: bytes, *, kept: bool) -> RowHash:
        """``kept``: with the reason why it may not be deleted."""
        document = decoded(raw)
        texts = self._texts(document, raw)
        key = self.key(texts)
        at = (key_text(document["_id"]),) if self._own_key else key
        reason = self._kept(document) if kept else ""
        return RowHash(key, python_row_hash_md5(texts), None, at, reason)

    def key(self, texts: Sequence[str | None]) -> Key:
        """The mapped key, as the other side prints it."""
        fields = self.what.fields[: self._width]
        return tuple(printed(t or "", f.type) for t, f in zip(texts, fields, strict=False))

    def digest(self, documents: Iterable[bytes]) -> Digest:
        """Of all of them."""
        rows = total = 0
        for raw in documents:
            rows += 1
            total += python_digest_md5(self.texts(raw))
        return Digest(rows, total, METHOD)

    def counted(self) -> tuple[LossCount, ...]:
        """What the policies did to the rows that were read."""
        return tuple(
            LossCount(column, rule, values)
            for (column, rule), values in sorted(self.losses.items())
        )

    @property
    def _own_key(self) -> bool:
        return not any(map(is_reading, self.what.key))

    def _refusal(
        self, document: Mapping[str, Any], field: Field, reading: Reading, error: Misfit
    ) -> str:
        return (
            f"{self.what.label}: document {key_text(document['_id'])}: field {reading.path} -> "
            f"{field.column}: {error}; correct it, name another type, or say with on_loss what "
            "becomes of it"
        )


def decoded(raw: bytes) -> dict[str, Any]:
    """The document. ``BadValue`` for one whose values do not tell all that its bytes do."""
    try:
        document = bson.decode(raw, OPTIONS)
        same = bson.encode(document, codec_options=OPTIONS) == raw
    except (BSONError, InvalidBSON, UnicodeError, OverflowError) as error:
        raise BadValue(f"a document cannot be read: {type(error).__name__}") from error
    if not same:
        raise BadValue(
            f"document {key_text(document.get('_id'))} has a field twice, or a value of a type "
            "that is no longer in use (undefined, symbol, DBPointer), which columns do not tell; "
            "copy such documents whole, without columns"
        )
    return document


def wanted(what: Projection, keys: Sequence[Key]) -> list[Any]:
    """The values of ``_id`` that keys name, as ``what.key`` has them."""
    if not any(map(is_reading, what.key)):
        return [key_value(key[0]) for key in keys]
    fields = [(f, reading_of(k.column)) for f, k in zip(what.fields, what.key, strict=False)]
    found: list[Any] = []
    for key in keys:
        try:
            values = {
                reading.path: _value(text, field, reading)
                for text, (field, reading) in zip(key, fields, strict=True)
            }
        except (Misfit, ValueError):
            # No document has it.
            continue
        if len(values) == 1 and "_id" in values:
            found.append(values["_id"])
        else:
            found.append({path.partition(".")[2]: value for path, value in values.items()})
    return found


def _value(text: str, field: Field, reading: Reading) -> Any:
    canonical = unprinted(text, field.type)
    kind = reading.declared or field.type
    if reading.whole:
        return key_value(canonical)
    return mongodb_value(canonical, kind)


class Maker:
    """Makes documents of the rows of a projection."""

    def __init__(self, what: Projection) -> None:
        self._what = what
        self._fields = [(f, reading_of(f.expression)) for f in what.fields]
        self._whole = next((n for n, (_, r) in enumerate(self._fields) if _is_document(r)), None)

    def __call__(self, texts: Sequence[str | None]) -> bytes:
        """A document: its fields in the order of the columns, nested by their paths.

        Raises ``BadValue`` for a value that BSON has not.
        """
        if self._whole is not None:
            return bytes.fromhex(texts[self._whole] or "")
        document: dict[str, Any] = {}
        for text, (field, reading) in zip(texts, self._fields, strict=True):
            if text is None and reading.absent == "missing":
                continue
            at = document
            *before, last = reading.parts
            for name in before:
                at = at.setdefault(name, {})
            try:
                at[last] = mongodb_value(text, field.type)
            except Misfit as error:
                raise BadValue(self._refusal(texts, field, str(error))) from error
        try:
            return bson.encode(document, codec_options=OPTIONS)
        except (BSONError, UnicodeError, OverflowError) as error:
            raise BadValue(self._refusal(texts, None, str(error))) from error

    def _refusal(self, texts: Sequence[str | None], field: Field | None, error: str) -> str:
        key = ", ".join(t or "" for t in texts[: len(self._what.key)])
        column = f"column {field.column}, " if field else ""
        return (
            f"{self._what.label}: {column}key ({key}): {error}; map it with another type, such as "
            "string"
        )


def _is_document(reading: Reading) -> bool:
    return reading.whole and reading.path != KEY


def hashed(rows: Rows, documents: Iterable[bytes], *, kept: bool) -> Iterator[RowHash]:
    """Row by row."""
    for raw in documents:
        yield rows.hash(raw, kept=kept)
