"""What MongoDB has not, and the error that says so: see ``mongo_place.GAPS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column
from dsp_airflow.engine.stores.mongodb import dialect
from tests.conftest import NewMongoDatabase
from tests.contract.mongo_place import MongoPlace
from tests.contract.places import ALL, BIGINT, ITEMS, items

SIZE = Column("size", BIGINT, "int64")
CURSOR = r"^mode: incremental is not for documents of MongoDB; use mode: full, with a where"


def test_documents_have_no_expressions_and_no_cursor(new_mongo_db: NewMongoDatabase) -> None:
    place = MongoPlace(new_mongo_db())
    place.make(ITEMS, items(1, 2))
    shape, what = place.shape(ITEMS), place.project(ITEMS)
    # Its key is ``_id``, whatever a table would have.
    assert (shape.key, [column.name for column in shape.columns]) == (("_id",), ["_id", "document"])
    with place.store.session() as session:
        assert session.nearest(f"{place.schema}.itemz") == [f"{place.schema}.items"]
        told: list[tuple[str, Callable[[], object]]] = [
            (
                r"items: MongoDB has no SQL expressions: 1 \+ 1$",
                lambda: session.typed(shape, ["1 + 1"]),
            ),
            (CURSOR, lambda: session.window(shape, SIZE, None, 0)),
            (CURSOR, lambda: session.typed_value(SIZE, "7")),
            (CURSOR, lambda: dialect.in_window(SIZE, None, endless=False)),  # type: ignore[arg-type]
            (CURSOR, lambda: dialect.without_cursor(SIZE)),
            (
                r"^where: not extended JSON: ",
                lambda: session.count(replace(what, where="1 > 0"), ALL),
            ),
            (
                r"^where: must be a query document",
                lambda: session.count(replace(what, where="1"), ALL),
            ),
        ]
        for match, act in told:
            with pytest.raises(ConfigError, match=match):
                act()
