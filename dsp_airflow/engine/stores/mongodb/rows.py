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

from dsp_airflow.engine.canon import lines, python_digest_md5, python_row_hash_md5
from dsp_airflow.engine.canon.mongodb import OPTIONS, Misfit, mongodb_value, type_name
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
from dsp_airflow.engine.stores.mongodb import keys, raw, twins
from dsp_airflow.engine.stores.mongodb.raw import Value
from dsp_airflow.engine.stores.mongodb.reading import (
    KEY,
    MISSING,
    Reading,
    Used,
    found_at,
    is_accepted,
    read,
    read_text,
    reading_of,
    tree_of,
    unmapped,
)

METHOD: Final = "md5"
BUFFER: Final = 4 * 1024 * 1024
"""Bytes of documents that are made at once; a larger one comes alone."""
NAMED: Final = 5
"""Fields that a reason names."""


def is_reading(column: KeyColumn) -> bool:
    """Whether a key is told by a field's own text, and not as extended JSON."""
    return column.column.startswith("{")


def is_whole(what: Projection) -> bool:
    """Whether rows are whole documents: an id, and the bytes."""
    return any(reading_of(field.expression).whole for field in what.fields)


class Rows:
    """Reads documents as the rows of a projection. ``losses`` counts what its policies did."""

    def __init__(self, what: Projection) -> None:
        self.what = what
        self.losses: Counter[tuple[str, str]] = Counter()
        self._fields = [(f, reading_of(f.expression)) for f in what.fields]
        self._paths = [(reading.parts, field.type) for field, reading in self._fields]
        self._width = len(what.key)
        self.whole = is_whole(what)
        self._tree = tree_of([reading.parts for _, reading in self._fields])
        self._key = self._key_to_tell()

    def _key_to_tell(self) -> int | None:
        """The place of a column that may not tell all ids apart; nobody asks of what we wrote."""
        if self.whole or not self._own_key or is_accepted(KEY, self.what.accepted):
            return None
        places = (
            n
            for n, (field, reading) in enumerate(self._fields)
            if reading.path == KEY and field.type.name in twins.CLOSE
        )
        return next(places, None)

    def texts(self, document: bytes) -> list[str | None]:
        """The row's canonical texts. ``BadValue`` names the document, never a value."""
        if self.whole:
            texts = {"string": self.id_text(document), "bytes": document.hex()}
            return [texts[field.type.name] for field, _ in self._fields]
        return self._texts(decoded(document), document)

    def id_text(self, document: bytes) -> str:
        """The id as extended JSON."""
        return keys.of(document)[0]

    def _texts(self, values: Mapping[str, Any], document: bytes) -> list[str | None]:
        found: list[str | None] = []
        for (field, reading), (parts, kind) in zip(self._fields, self._paths, strict=True):
            try:
                made = read(values, reading, parts, kind)
            except Misfit as error:
                raise BadValue(self._refusal(document, field, reading, error)) from error
            if isinstance(made, Used):
                self.losses[field.column, made.rule] += 1
                found.append(made.text)
            else:
                found.append(made)
        if self._key is not None:
            self._refuse_twin(values, document, found[self._key], *self._fields[self._key])
        return found

    def _refuse_twin(
        self,
        values: Mapping[str, Any],
        document: bytes,
        text: str | None,
        field: Field,
        reading: Reading,
    ) -> None:
        if text is not None and not twins.has_none(values[KEY], text, field.type):
            raise BadValue(
                f"{self.what.label}: document {self.id_text(document)}: field {reading.path} -> "
                f"{field.column}: another id may be the same there, as {field.type} tells neither "
                "the order of fields nor a double from a decimal; name a type that tells all ids "
                f"apart, or list {KEY} under accept_loss where no two are alike"
            )

    def kept(self, document: bytes) -> str:
        """Why the document may not be deleted: fields that no column holds; empty when it may."""
        return "" if self.whole else self._kept(decoded(document))

    def _kept(self, values: Mapping[str, Any]) -> str:
        lost = unmapped(values, self._tree)
        names = [path for path in lost if not is_accepted(path, self.what.accepted)]
        if not names:
            return ""
        shown = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
        return f"no column holds its {shown}; map it, or list it under accept_loss"

    def hash(self, document: bytes) -> RowHash:
        """With the reason why the document may not be deleted."""
        if self.whole:
            texts, reason = self.texts(document), ""
        else:
            try:
                values = decoded(document)
                texts, reason = self._texts(values, document), self._kept(values)
            except BadValue as error:
                # Such a document was never copied as it is now, and no row equals it.
                return RowHash(self._key_alone(document), "", None, keys.of(document), str(error))
        at = self.at(document, texts)
        return RowHash(self.key(texts), python_row_hash_md5(texts), None, at, reason)

    def _key_alone(self, document: bytes) -> Key:
        """The mapped key of a document that is no row otherwise; empty where it has none."""
        own = bson.decode(raw.document([(KEY, raw.id_of(document))]).raw, OPTIONS)
        try:
            fields = self._fields[: self._width]
            return self.key([read_text(own, reading, field.type) for field, reading in fields])
        except Misfit:
            return ()

    def at(self, document: bytes, texts: Sequence[str | None]) -> Key:
        """The key that the row is found by here, as ``what.key`` has it."""
        return keys.of(document) if self._own_key else self.key(texts)

    def key(self, texts: Sequence[str | None]) -> Key:
        """The mapped key, as the other side prints it."""
        fields = self.what.fields[: self._width]
        return tuple(printed(t or "", f.type) for t, f in zip(texts, fields, strict=False))

    def digest(self, documents: Iterable[bytes]) -> Digest:
        """Of all of them; a document that is no row has a part that no row has."""
        rows = total = 0
        for document in documents:
            rows += 1
            try:
                texts: Sequence[str | None] = self.texts(document)
            except BadValue:
                texts = ["no row", document.hex()]
            total += python_digest_md5(texts)
        return Digest(rows, total, METHOD)

    def told(self, document: bytes) -> tuple[Key, tuple[str | None, ...]]:
        """The mapped key and the texts, for a report: of no row, too."""
        try:
            texts: Sequence[str | None] = self.texts(document)
        except BadValue:
            own = bson.decode(document, OPTIONS)
            texts = [self._odd(own, reading, field) for field, reading in self._fields]
            return self._key_alone(document), tuple(texts)
        return self.key(texts), tuple(texts)

    def _odd(self, values: Mapping[str, Any], reading: Reading, field: Field) -> str | None:
        try:
            return read_text(values, reading, field.type)
        except Misfit as error:
            return str(error)

    def counted(self) -> tuple[LossCount, ...]:
        """What the policies did to the rows that were read."""
        return tuple(
            LossCount(column, rule, values)
            for (column, rule), values in sorted(self.losses.items())
        )

    @property
    def _own_key(self) -> bool:
        return not any(map(is_reading, self.what.key))

    def _refusal(self, document: bytes, field: Field, reading: Reading, error: Misfit) -> str:
        return (
            f"{self.what.label}: document {self.id_text(document)}: field {reading.path} -> "
            f"{field.column}: {error}; correct it, name another type, or say with on_loss what "
            "becomes of it"
        )


def decoded(document: bytes) -> dict[str, Any]:
    """Its values. ``BadValue`` where they do not tell all that the bytes do."""
    try:
        values = bson.decode(document, OPTIONS)
        same = bson.encode(values, codec_options=OPTIONS) == document
    except (BSONError, InvalidBSON, UnicodeError, OverflowError) as error:
        raise BadValue(
            f"document {keys.of(document)[0]} cannot be read: {type(error).__name__}; copy such "
            "documents whole, without columns"
        ) from error
    if not same:
        raise BadValue(
            f"document {keys.of(document)[0]} has a field twice, or a value of a type that is no "
            "longer in use (undefined, symbol, DBPointer), which columns do not tell; copy such "
            "documents whole, without columns"
        )
    return values


def ids_of(what: Projection, listed: Sequence[Key]) -> list[Value]:
    """The ids that keys name, as ``what.key`` has them."""
    if not any(map(is_reading, what.key)):
        return [keys.value(key[0]) for key in listed]
    fields = [(f, reading_of(k.column)) for f, k in zip(what.fields, what.key, strict=False)]
    found: list[Value] = []
    for key in listed:
        try:
            parts = {
                reading.path: _value(text, field, reading)
                for text, (field, reading) in zip(key, fields, strict=True)
            }
            if set(parts) == {KEY}:
                found.append(parts[KEY])
            else:
                inner = [(path.partition(".")[2], part) for path, part in parts.items()]
                found.append(Value(raw.DOCUMENT, bytes(raw.document(inner).raw)))
        except ValueError:
            # No document has it.
            continue
    return found


def _value(text: str, field: Field, reading: Reading) -> Value:
    if reading.whole:
        return keys.value(text)
    kind = reading.declared or field.type
    return raw.encoded(mongodb_value(unprinted(text, field.type), kind))


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


def merged(old: bytes, new: bytes, what: Projection) -> bytes:
    """A document that stands there, with the fields of a row in place of its own.

    Its id stays as it is: both are one to the server. ``BadValue`` where something stands in the
    way of a field, and would be gone.
    """
    if is_whole(what):
        return new
    there, values = decoded(old), bson.decode(new, OPTIONS)
    for field in what.fields[len(what.key) :]:
        parts = reading_of(field.expression).parts
        value = found_at(values, parts)
        try:
            _put(there, parts, value)
        except Misfit as error:
            raise BadValue(
                f"{what.label}: document {keys.of(old)[0]}: {field.column} cannot be written: "
                f"{error}; nothing of the batch was written. Map the column to another field, or "
                "correct the document"
            ) from error
    return bson.encode(there, codec_options=OPTIONS)


def _put(at: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    *before, last = parts
    for n, name in enumerate(before, 1):
        inner = at.get(name)
        if not isinstance(inner, dict):
            if value is MISSING:
                return
            if inner is not None:
                path = ".".join(parts[:n])
                raise Misfit(f"{path} is of type {type_name(inner)}, and has no fields")
            at[name] = {}
        at = at[name]
    if value is MISSING:
        at.pop(last, None)
    else:
        at[last] = value


def buffers(stream: Iterable[bytes | memoryview], what: Projection) -> Iterator[bytes]:
    """Lines of canonical texts (``canon.lines``) as buffers of documents."""
    make = Maker(what)
    gathered: list[bytes] = []
    size = 0
    for texts in lines.rows_of(stream, len(what.fields)):
        document = make(texts)
        if gathered and size + len(document) > BUFFER:
            yield b"".join(gathered)
            gathered, size = [], 0
        gathered.append(document)
        size += len(document)
    if gathered:
        yield b"".join(gathered)
