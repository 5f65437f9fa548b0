"""A job: one table copied to another, checked, and removed from the source if so asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from dsp_airflow.config.base import Model
from dsp_airflow.config.belonging import BelongsTo, KeepNewestOption
from dsp_airflow.config.cursors import Cursor, Mode
from dsp_airflow.config.documents import Buckets, FieldOrderOption, Query, check_query
from dsp_airflow.config.drift import DriftPolicy
from dsp_airflow.config.findings import Finding, invalid, invalid_together
from dsp_airflow.config.limits import Limits
from dsp_airflow.config.missing import DeleteMissing
from dsp_airflow.config.names import JOB_NAME_PATTERN, check_job_name, check_table, split_table
from dsp_airflow.config.order import AFTER
from dsp_airflow.config.rulereader import are_rules, parse_rules
from dsp_airflow.config.rules import Group, Not, Rule, Rules
from dsp_airflow.config.scalars import parse_size
from dsp_airflow.config.stepping import Step
from dsp_airflow.config.templates import check_target_table, split_target
from dsp_airflow.config.timeouts import Timeouts
from dsp_airflow.config.typenames import TypeName, parse_type
from dsp_airflow.config.variables import Constant, Variable, parse_variable

MIN_ROW_SIZE = 1024
MAX_ROW_SIZE = 1024**3


def as_tuple(value: object) -> object:
    """YAML gives lists; the models hold tuples, which cannot be changed."""
    return tuple(value) if isinstance(value, list) else value


Listed = BeforeValidator(as_tuple)
Text = Annotated[str, Field(min_length=1)]
TableText = Annotated[str, AfterValidator(check_table)]
JobName = Annotated[
    str,
    AfterValidator(check_job_name),
    WithJsonSchema({"type": "string", "pattern": f"^{JOB_NAME_PATTERN}$"}),
]
IsolationLevel = Literal["read_uncommitted", "read_committed", "repeatable_read", "serializable"]
NameList = Annotated[tuple[Text, ...], Listed]


def _constant(value: object) -> Constant | None:
    if value is None or isinstance(value, str | int | float | bool | date | datetime):
        return value
    raise invalid("must be text, a number, true, false, a date or null")


def _where(value: object) -> str | Query | Rules:
    if isinstance(value, Mapping):
        return parse_rules(value) if are_rules(value) else check_query(value)
    if isinstance(value, Rule | Not | Group) or (isinstance(value, str) and value):
        return value
    raise invalid("must be rules, a condition of SQL, or a query document of MongoDB")


def _batch_size(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise invalid("must be auto or a number of rows from 1", "auto")


def check_or_none(value: object) -> object:
    """The word ``none`` is no check."""
    if value == "none":
        return None
    if not isinstance(value, dict | Check):
        raise invalid("must be {percent: 10} or none")
    return value


def _row_size(value: object) -> int:
    size = parse_size(value)
    if not MIN_ROW_SIZE <= size <= MAX_ROW_SIZE:
        raise invalid("must be from 1KiB to 1GiB")
    return size


RowSize = Annotated[
    int,
    PlainValidator(_row_size),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)$"}),
]


class Source(Model):
    """Where rows come from."""

    connection: Text = Field(
        description="Id of the Airflow connection to read from.", examples=["shop_pg"]
    )
    table: TableText = Field(
        description=(
            "Table to read, with its schema: public.flights. Names are taken exactly as written, "
            "in their case; a part with a dot or a blank goes in double quotes."
        ),
        examples=["public.flights"],
    )


class Endpoint(Model):
    """Where rows go."""

    connection: Text = Field(
        description="Id of the Airflow connection to write to.", examples=["warehouse_pg"]
    )


class Target(Endpoint):
    """A table that rows go to."""

    table: Annotated[str, AfterValidator(check_target_table)] | None = Field(
        default=None,
        description=(
            "Table to write, with its schema. It may hold times as variables have them and how "
            "they are written, such as events_{{ run_date:%Y%m }} or "
            "events_{{ data_interval_start-1M:%Y_%m }}, {{ task }} and {{ job }}. Default: the "
            "name of the source table."
        ),
        examples=["public.flights_archive", "public.flights_{{ run_date:%Y%m }}"],
    )
    create: Literal["missing", "never"] = Field(
        default="missing",
        description=(
            "missing: create the table from the source's shape when it is not there. "
            "never: refuse to run without it."
        ),
    )


class ColumnMapping(Model):
    """One column of the target: from a source column, a constant or an expression."""

    source: Text | None = Field(
        default=None,
        description=(
            "Name of the source column; of a field in MongoDB's documents its path, such as "
            "address.city or tags.0."
        ),
        examples=["id"],
    )
    target: Text | None = Field(
        default=None,
        description="Name of the target column. Default: the name of the source column.",
        examples=["user_id"],
    )
    constant: Annotated[
        Constant | None,
        PlainValidator(_constant),
        WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
    ] = Field(
        default=None,
        description="The same value for every row; null writes NULL. Needs target.",
        examples=["legacy"],
    )
    expression: Text | None = Field(
        default=None,
        description=(
            "One SQL expression of the source's dialect over the columns of the row, with listed "
            "functions and :name variables. Needs target."
        ),
        examples=["lower(email)"],
    )
    type: Annotated[
        TypeName | None,
        PlainValidator(parse_type),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": r"^([a-z]+[0-9]*|decimal\(\s*[0-9]+\s*,\s*[0-9]+\s*\))$",
            }
        ),
    ] = Field(
        default=None,
        description=(
            "Logical type in the target: bool, int8, int16, int32, int64 (or integer), uint64, "
            "decimal(precision,scale), float32, float64 (or number), string (or text), bytes, "
            "date, time, timestamp, timestamptz, uuid, objectid or json. Default: the source "
            "column's type; a field of MongoDB's documents needs one."
        ),
        examples=["decimal(6,1)"],
    )

    on_loss: Annotated[
        Literal["error", "null", "clamp", "text"],
        # YAML reads a bare null as nothing.
        BeforeValidator(lambda value: "null" if value is None else value),
        WithJsonSchema({"enum": ["error", None, "null", "clamp", "text"]}),
    ] = Field(
        default="error",
        description=(
            "What becomes of a value that the target's type does not hold. error: the batch stops "
            "and names the row. null: NULL. clamp: the nearest value the type has. text: the "
            "target column is text and keeps every value as its text. Each use is counted."
        ),
    )

    missing: Annotated[
        Literal["null", "error"],
        BeforeValidator(lambda value: "null" if value is None else value),
        WithJsonSchema({"enum": ["error", None, "null"]}),
    ] = Field(
        default="null",
        description=(
            "What a document of MongoDB without this field has. null: NULL, and it is counted. "
            "error: the batch stops and names the document."
        ),
    )
    null_as: Annotated[
        Literal["null", "missing"],
        BeforeValidator(lambda value: "null" if value is None else value),
        WithJsonSchema({"enum": ["missing", None, "null"]}),
    ] = Field(
        default="null",
        description=(
            "How NULL is written to a document of MongoDB. null: as null. missing: the field is "
            "left out."
        ),
    )

    @property
    def target_name(self) -> str:
        """The column written, which is the source column's name unless `target` says otherwise."""
        return self.target or self.source or ""

    @property
    def has_constant(self) -> bool:
        """Whether the column gets a constant, which may be NULL."""
        return "constant" in self.model_fields_set

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnMapping:
        given = [
            name
            for name in ("source", "constant", "expression")
            if name in self.model_fields_set and (name == "constant" or getattr(self, name))
        ]
        if len(given) != 1:
            shown = f"has {' and '.join(given)}" if given else "has none of them"
            raise invalid(f"must have one of source, constant and expression; it {shown}")
        if given != ["source"] and self.target is None:
            raise invalid(f"needs target, the column that the {given[0]} is written to")
        return self


class Check(Model):
    """How much of the copy is compared with the source, value for value."""

    percent: float = Field(
        default=10.0,
        gt=0,
        le=100,
        description=(
            "Share of the batches whose rows are compared, above 0 to 100. Row counts are always "
            "compared. A purge proves every row whatever the share."
        ),
        examples=[10, 100],
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Chooses the batches; the same seed chooses the same ones.",
    )


class TableJob(Model):
    """What jobs of every type say of the table they read."""

    name: JobName = Field(
        description="Name of the job, unique in its task: letters, digits, _ and -.",
        examples=["flights_warm"],
    )
    type: str
    after: NameList = Field(default=(), description=AFTER, examples=[["customers"]])
    source: Source = Field(description="Connection and table to read from.")
    target: Endpoint
    key: NameList = Field(
        default=(),
        description=(
            "Source columns that identify a row. Default: the primary key of the source table."
        ),
        examples=[["id"]],
    )
    columns: Annotated[tuple[ColumnMapping, ...], Field(min_length=1), Listed] | None = Field(
        default=None,
        description=(
            "Columns to write, in order, or {file: ...} with the path of a file that lists them. "
            "Default: all columns under their own names."
        ),
    )
    where: (
        Annotated[
            str | Query | Rules,
            PlainValidator(_where),
            WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]}),
        ]
        | None
    ) = Field(
        default=None,
        description=(
            "Which rows belong to the job: rules, which every system understands; or one SQL "
            "condition of the source's dialect over its columns, with :name variables; or a query "
            "document of MongoDB, in which a text that is :name as a whole is a variable. "
            "Default: all rows."
        ),
        examples=[
            "time_hour < :cutoff",
            {
                "all": [
                    {"column": "status", "operator": "in", "value": ["done", "void"]},
                    {"column": "time_hour", "operator": "<", "value": ":cutoff"},
                ]
            },
            {"status": "done", "at": {"$lt": ":cutoff"}},
        ],
    )
    belongs_to: BelongsTo = None
    keep_newest: KeepNewestOption = None
    variables: Mapping[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
        Annotated[
            Variable,
            PlainValidator(parse_variable),
            WithJsonSchema({"type": ["string", "number", "boolean"]}),
        ],
    ] = Field(
        default_factory=dict,
        description=(
            "Values for :name in where and in expressions. Times relative to the run: now-90d, "
            "data_interval_start-1M, data_interval_end, logical_date, run_date, with units s, m "
            "(minutes), h, d, w, M (months), y. Everything else is a constant."
        ),
        examples=[{"cutoff": "now-90d"}],
    )
    batch_size: Annotated[
        int | Literal["auto"],
        PlainValidator(_batch_size),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    ] = Field(
        default="auto",
        description="Rows per batch; auto chooses by rows and bytes.",
        examples=["auto", 1000],
    )
    workers: int = Field(
        default=1, ge=1, le=32, description="Batches copied at once inside one worker process."
    )
    shards: int = Field(
        default=1, ge=1, le=256, description="Airflow tasks that share the job's batches."
    )
    timeouts: Timeouts = Field(
        default_factory=Timeouts,
        description="How long to wait for locks and statements of source and target.",
    )
    limits: Limits | None = Field(
        default=None,
        description=(
            "How fast the job may go and at what time of day, and how loaded servers may be: "
            "beyond that, no batch begins. Default: no limit."
        ),
        examples=[
            {"rows_per_second": 20000, "window": "22:00-06:00 Europe/Vienna"},
            {"replica_lag": "10s", "threads_running": 50},
        ],
    )
    check: Annotated[Check | None, BeforeValidator(check_or_none)] = Field(
        default_factory=Check,
        description=(
            "How much of the copy is compared: {percent: 10}. none skips the comparison and is "
            "only accepted without purge."
        ),
    )
    purge: Literal["none", "manual", "system"] = Field(
        default="none",
        description=(
            "What happens to the copied rows in the source. none: they stay. manual: they are "
            "deleted when someone asks for it. system: they are deleted when every job of the "
            "task on that table is copied and checked. Every row is proved before it is deleted."
        ),
    )
    accept_loss: NameList = Field(
        default=(),
        description=(
            "Source columns that the target does not hold, or holds with fewer values, and whose "
            "loss is accepted. Without them such a job may not purge. Of MongoDB's documents: "
            "fields that no column holds, or * for all of them; documents with others are kept."
        ),
        examples=[["internal_note"]],
    )
    accept_triggers: NameList = Field(
        default=(),
        description=(
            "Delete triggers of the source table that are known and accepted. A purge fires them."
        ),
        examples=[["orders_audit"]],
    )
    keep_last_auto_increment: bool = Field(
        default=False,
        description=(
            "A purge leaves the row with the newest AUTO_INCREMENT value. MySQL before 8.0 and "
            "MariaDB before 10.2 look for it when they start, and would give its number to "
            "another row. MySQL and MariaDB sources only."
        ),
    )
    max_row_size: RowSize = Field(
        default=64 * 1024**2,
        description="The largest row that may pass; a larger one is an error. From 1KiB to 1GiB.",
        examples=["64MiB"],
    )
    report_values: bool = Field(
        default=False,
        description="Show values in difference reports. Default: keys and hashes only.",
    )
    drift: DriftPolicy = "fail"
    mode: Mode = "full"
    cursor: Cursor | None = Field(
        default=None, description="For mode: incremental, and only there."
    )
    step: Step | None = Field(default=None, description="For mode: step, and only there.")

    @property
    def target_table(self) -> str:
        """The name of the table that rows become: the source's own."""
        return self.source.table

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from dsp_airflow.config.consistency import job_findings

        found = job_findings(self)
        if found:
            raise invalid_together(found)
        return self


class WarmJob(TableJob):
    """Copies a table to another database, checks it, and purges the source if so asked."""

    type: Literal["warm"] = Field(description="warm: from database table to database table.")
    target: Target = Field(description="Connection and table to write to.")
    allow_empty: bool = Field(
        default=False,
        description=(
            "mode: replace only: a source without any row of the job empties the target. Default: "
            "such a run is refused, and the target stays as it is."
        ),
    )
    gridfs: Buckets = False
    field_order: FieldOrderOption = "count"
    on_conflict: Literal["update", "ignore", "error"] = Field(
        default="update",
        description=(
            "When the target holds a row of the same key: update it, ignore the new row, or fail "
            "with an error."
        ),
    )
    delete_missing: DeleteMissing | None = Field(
        default=None,
        description=(
            "With mode: full: once all is copied and checked, rows of the target whose key the "
            "source does not have are deleted, up to a limit: {limit: 1000}. The one job on that "
            "target, without where and purge. Default: they stay."
        ),
        examples=[{"limit": "5%"}],
    )
    rollback: bool = Field(
        default=False,
        description=(
            "Note beside the target what each run writes there, so that dsp rollback can undo it: "
            "every row is written twice, once in short. Not with mode: replace or delete_missing."
        ),
    )
    isolation: IsolationLevel = Field(
        default="repeatable_read",
        description=(
            "How the source is read. repeatable_read: a batch is read in one transaction, with one "
            "view of the table until the target has it. read_committed: the source is let go "
            "as soon as it has sent the batch; batches whose rows will be compared are still read "
            "and digested in one view. MySQL sources only: serializable keeps the rows of a "
            "batch from being changed while it is read; read_uncommitted reads rows that may be "
            "rolled back, unless they will be compared. A purge has its own isolation."
        ),
    )

    @property
    def target_table(self) -> str:
        """The table written, which has the source table's name unless the target names one.

        As the file has it: a run may have to complete it.
        """
        return self.target.table or self.source.table

    @property
    def target_name(self) -> tuple[str, ...]:
        """The parts of its name, what a run completes in one form."""
        if self.target.table is None:
            return split_table(self.source.table)
        return split_target(self.target.table)


def same_table(job: WarmJob) -> bool:
    """Whether source and target are one table of one connection."""
    alike = split_table(job.source.table) == job.target_name
    return job.source.connection == job.target.connection and alike


def duplicates(location: str, names: tuple[str, ...]) -> list[Finding]:
    """A finding for every name of the list that stands in it before."""
    return [
        Finding(
            (location, index), "stands in the list already", name, involves=frozenset({location})
        )
        for index, name in enumerate(names)
        if name in names[:index]
    ]
