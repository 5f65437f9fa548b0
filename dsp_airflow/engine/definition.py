"""What a run is bound to: the definition, both tables, and where the connections lead."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dsp_airflow.engine import adding
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Plan, Projection, Shape
from dsp_airflow.engine.ports import Endpoint, Session, Store


def definition_of(
    definition: str, source_shape: Shape, target_shape: Shape, source: Endpoint, target: Endpoint
) -> str:
    """Digest of what a decision is bound to: definition, both shapes, where connections lead."""
    text = json.dumps(
        {
            "definition": definition,
            "canon": CANON_VERSION,
            "source": [source.system, source.identity, _structure_of(source_shape)],
            "target": [target.system, target.identity, _structure_of(target_shape)],
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def verify_unchanged(
    plan: Plan, definition: str, source: Store, target: Store, *, begun: bool
) -> None:
    """Raises ``Refused`` unless definition, tables and endpoints are still those of the plan.

    ``begun``: something was copied already, so a target that was to be created is there.
    """
    with source.session() as read, target.session() as write:
        shapes = []
        for session, projection, planned in (
            (read, plan.source, plan.source_shape),
            (write, plan.target, plan.target_shape),
        ):
            shape = session.describe(projection.table)
            if session is write and not begun:
                shape = _expected(plan, shape)
            if shape is None:
                raise Refused(f"{projection.label} is gone since the run was planned")
            if session is read:
                _require_order(plan, shape)
            if _structure_of(shape) != _structure_of(planned):
                raise Refused(_altered(projection.label, planned, shape))
            shapes.append(shape)
    if definition_of(definition, shapes[0], shapes[1], source, target) != plan.definition:
        raise Refused(_edited(plan))


def _expected(plan: Plan, shape: Shape | None) -> Shape | None:
    """The target as it will be once it has been made ready."""
    if shape is None:
        return plan.target_shape if plan.create else None
    return adding.expected(plan, shape)


def verify_source_unchanged(plan: Plan, definition: str, source: Store, target: Endpoint) -> None:
    """As ``verify_unchanged``, of a job whose target is made by it alone."""
    with source.session() as session:
        shape = session.describe(plan.source.table)
    if shape is None:
        raise Refused(f"{plan.source.label} is gone since the run was planned")
    _require_order(plan, shape)
    if _structure_of(shape) != _structure_of(plan.source_shape):
        raise Refused(_altered(plan.source.label, plan.source_shape, shape))
    if definition_of(definition, shape, plan.target_shape, source, target) != plan.definition:
        raise Refused(_edited(plan))


def verify_target_unchanged(
    plan: Plan, definition: str, source: Endpoint, target: Store, *, begun: bool
) -> None:
    """As ``verify_unchanged``, of a job whose source never changes."""
    with target.session() as session:
        shape = session.describe(plan.target.table)
    if shape is None and plan.create and not begun:
        shape = plan.target_shape
    if shape is None:
        raise Refused(f"{plan.target.label} is gone since the run was planned")
    if _structure_of(shape) != _structure_of(plan.target_shape):
        raise Refused(_altered(plan.target.label, plan.target_shape, shape))
    if definition_of(definition, plan.source_shape, shape, source, target) != plan.definition:
        raise Refused(_edited(plan))


def require_structure(session: Session, side: Projection, planned: Shape) -> None:
    """``Refused`` unless the table has the columns and the key that it was planned with."""
    shape = session.describe(side.table)
    if shape is None:
        raise Refused(f"{side.label} is gone since the run was planned")
    if _structure_of(shape) != _structure_of(planned):
        raise Refused(_altered(side.label, planned, shape))


def _altered(label: str, planned: Shape, now: Shape) -> str:
    return (
        f"{label} was altered since the run was planned ({_drift(planned, now)}); start a new run"
    )


def _require_order(plan: Plan, source: Shape) -> None:
    if _order_of(source, plan) != _order_of(plan.source_shape, plan):
        raise Refused(
            f"{plan.source.label} sorts its key otherwise than when the run was planned, so "
            "its batches would miss rows; start a new run"
        )


def _edited(plan: Plan) -> str:
    return (
        f"job {plan.job}: the task file changed, or a connection leads elsewhere, since the "
        "run was planned; start a new run"
    )


def verify_derived(plan: Plan, anew: Plan) -> None:
    """Raises ``Refused`` when a stored plan is not what definition and tables make of it.

    What is compared and deleted follows from the plan, so nobody may narrow it where it is kept.
    """
    names = (
        *("source", "target", "key", "ordered_alike", "shared", "on_conflict"),
        *("accept_triggers", "purged_beside", "archive"),
    )
    edited = [name for name in names if getattr(plan, name) != getattr(anew, name)]
    if edited:
        raise Refused(
            f"job {plan.job}: the plan in the state database is not the one that the task file and "
            f"the tables make ({', '.join(edited)}); nothing was deleted. Start a new run"
        )


def _drift(planned: Shape, now: Shape) -> str:
    before = {c.name: c for c in planned.columns}
    after = {c.name: c for c in now.columns}
    parts = [f"column {n} dropped" for n in before.keys() - after.keys()]
    parts += [f"column {n} added" for n in after.keys() - before.keys()]
    parts += [
        f"column {n} was {before[n].native}, is {after[n].native}"
        for n in before.keys() & after.keys()
        if (before[n].native, before[n].nullable) != (after[n].native, after[n].nullable)
    ]
    if planned.kind != now.kind:
        parts.append(f"it was a {planned.kind}, is a {now.kind}")
    return ", ".join(sorted(parts)) or "key or column order"


def _order_of(shape: Shape, plan: Plan) -> list[tuple[str | None, tuple[str, ...] | None]]:
    """What the bounds of the batches rest on: the key's collations, and labels in their order."""
    names = {pair.source for pair in plan.pairs[: len(plan.key)]}
    return [(c.collation, c.type.labels) for c in shape.columns if c.name in names]


def _structure_of(shape: Shape) -> dict[str, Any]:
    """What of a shape is structure: a new index, partition or default elsewhere is no drift."""
    kind = {} if shape.kind == "table" else {"kind": shape.kind}
    if shape.open:
        # What its columns are is the job's own saying, which the definition has.
        return {**kind, "collection": [shape.schema, shape.name]}
    return {
        **kind,
        "table": [shape.schema, shape.name],
        "key": list(shape.key),
        "columns": [[c.name, c.native, c.nullable] for c in shape.columns],
    }
