"""A state database and task files of a big installation, for pages to show."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from sqlalchemy import select, text

from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject
from dsp_airflow.config.definition import normalise
from dsp_airflow.config.loading import load_task
from dsp_airflow.config.process_loading import parse_process
from dsp_airflow.state.codec import dump
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.moved import sum_up
from dsp_airflow.state.tables import JOBS
from tests.state.samples import plan

TASKS, RUNS, BATCHES, LARGE = 500, 5_000, 1_000_000, 50_000
"""How many there are; the youngest run that succeeded has a job of `LARGE` batches."""
DAYS, REQUESTS, GRANTS, AUDIT, CONNECTIONS = 90, 2_000, 2_000, 50_000, 40
JOB = "copy"
_EACH = (BATCHES - LARGE) // (RUNS - 1)


def write_tasks(folder: Path) -> None:
    """Every third archives, every fifth deletes what it copied."""
    for number in range(TASKS):
        kind = "s3" if number % 3 == 0 else "warm"
        target: dict[str, str] = {"connection": f"dw_{number % CONNECTIONS}"}
        if kind == "s3":
            target |= {"bucket": "archive", "prefix": f"cold/table_{number}"}
        job = {
            "name": JOB,
            "type": kind,
            "source": {
                "connection": f"shop_{number % CONNECTIONS}",
                "table": f"public.table_{number}",
            },
            "target": target,
            "where": "amount > 0 AND kind = 'order'",
            "check": {"percent": 10},
            "purge": "system" if number % 5 == 0 else "none",
        }
        task = {"name": _task(number), "owner": f"user_{number % 50}", "jobs": [job]}
        if number % 2:
            task["schedule"] = "30 2 * * 1-5"
        (folder / f"{_task(number)}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))


def fill(database: StateDatabase, folder: Path) -> None:
    """Runs of those tasks, and who may do and has asked for what."""
    with database.write() as connection:
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE task_files (number int PRIMARY KEY, name text,"
                " definition text, types text, source text, source_table text, target text,"
                " place text, purge text)"
            )
        )
        for number in range(TASKS):
            connection.execute(
                text(
                    "INSERT INTO task_files VALUES (:number, :name, :definition, :types, :source,"
                    " :source_table, :target, :place, :purge)"
                ),
                _defined(folder, number),
            )
        for statement in _STATEMENTS:
            connection.execute(text(statement), _NUMBERS | {"plan": dump(plan(JOB))})
        done = select(JOBS.c.run, JOBS.c.name).where(JOBS.c.state == "succeeded")
        for run, job in connection.execute(done).all():
            sum_up(connection, run, job)
    _people(database)
    _requests(database, folder)
    _records(database)


def _defined(folder: Path, number: int) -> dict[str, object]:
    definition = normalise(load_task(folder / f"{_task(number)}.yaml"))
    (job,) = definition["jobs"]
    target = job["target"]
    return {
        "number": number,
        "name": _task(number),
        "definition": json.dumps(definition),
        "types": job["type"],
        "source": job["source"]["connection"],
        "source_table": f"public.table_{number}",
        "target": target["connection"],
        "place": f"archive/cold/table_{number}" if job["type"] == "s3" else "",
        "purge": job["purge"],
    }


def _people(database: StateDatabase) -> None:
    roles = Roles(database)
    roles.add("administrators", "anna", "anna")
    with database.write() as connection:
        for statement in _PEOPLE:
            connection.execute(text(statement), _NUMBERS)


def _requests(database: StateDatabase, folder: Path) -> None:
    """One that was asked and decided as people do, and as many like it as are wanted."""
    made_here = folder.parent / "processes"
    made_here.mkdir()
    processes = Processes(database, made_here)
    for number in range(20):
        levels = [{"nodes": [{"role": "administrators"}, {"user": f"user_{number}"}]}]
        process = {"name": f"Process{number}", "task_type": "warm", "levels": levels}
        processes.create(parse_process(yaml.safe_dump(process), "bench"), "anna")
    requests = Requests(database, processes=processes)
    definition = {"text": "x" * 2_000}
    subject = Subject(
        task=_task(0),
        title="Move table 0",
        task_type="warm",
        subtypes=frozenset({"insert", "delete"}),
        connections=(Touched("shop_0"),),
        bound=definition,
        shown={"definition": definition},
        rows=1_000,
    )
    requests.ask("bench/0", subject, "user_1")
    with database.write() as connection:
        for statement in _REQUESTED:
            connection.execute(text(statement), _NUMBERS)


def _records(database: StateDatabase) -> None:
    """Their hashes are none: pages do not look at them."""
    with database.write() as connection:
        for statement in _AUDITED:
            connection.execute(text(statement), _NUMBERS)


def _task(number: int) -> str:
    return f"task_{number:03d}"


_NUMBERS = {
    "tasks": TASKS,
    "runs": RUNS,
    "large": LARGE,
    "each": _EACH,
    "days": DAYS,
    "requests": REQUESTS,
    "grants": GRANTS,
    "audit": AUDIT,
    "connections": CONNECTIONS,
    "job": JOB,
}
_STATEMENTS = (
    """
    INSERT INTO runs (id, task, file, external_key, dag, types, attempt, definition,
        definition_digest, variables, state, stop_requested, error, triggered_by, created_at,
        started_at, ended_at)
    SELECT to_char(at, 'YYYYMMDD"T"HH24MISS') || '-' || substr(md5(n::text), 1, 6), name,
        name || '.yaml', name || '/run_' || n, name, types, 1, definition, md5(name), '{}', state,
        false, CASE WHEN state = 'failed' THEN 'cannot connect to db:5432 (timed out)' END,
        CASE WHEN n % 4 = 0 THEN 'user_' || n % 300 END, at, at,
        CASE WHEN state <> 'running' THEN at + interval '5 minutes' END
    FROM (
        SELECT n, now() - (:runs - n) * (:days * interval '1 day' / :runs) AS at,
            CASE WHEN n > :runs - 10 THEN 'running' WHEN n % 20 = 1 THEN 'failed'
                WHEN n % 100 = 7 THEN 'terminated' ELSE 'succeeded' END AS state
        FROM generate_series(1, :runs) n
    ) numbered JOIN task_files ON number = n % :tasks
    """,
    """
    INSERT INTO jobs (run, name, ordinal, attempt, source_table, source_connection,
        source_identity, purge_mode, check_percent, check_seed, plan, state, error, created_at,
        planned_at, started_at, ended_at, seen_at, type, target_connection, target)
    SELECT id, :job, 0, 1, source_table, source, 'db:5432/' || source, purge, 10, 7, :plan,
        CASE state WHEN 'running' THEN 'copying' ELSE state END, error, created_at, created_at,
        started_at, ended_at, coalesce(ended_at, now()), task_files.types, target, place
    FROM runs JOIN task_files ON task_files.name = runs.task
    """,
    """
    INSERT INTO batches (run, job, attempt, number, after, upto, rows, sampled, copied, rows_read,
        rows_written, bytes, seconds, copied_at, rows_checked, rows_different, compared, checked_at,
        rows_purged, rows_kept, purged_at, lease_token, attempts, error)
    SELECT runs.id, :job, 1, n, CASE WHEN n > 1 THEN '["' || (n - 1) * 1000 || '"]' END,
        '["' || n * 1000 || '"]', 1000, n % 10 = 0,
        CASE WHEN copied THEN '{"rows_read": 1000, "written": {"rows": 1000, "inserted": 1000}, '
          '"bytes": 120000, "seconds": 0.01}' END,
        CASE WHEN copied THEN 1000 END, CASE WHEN copied THEN 1000 END,
        CASE WHEN copied THEN 100000 + n END, CASE WHEN copied THEN 0.5 END,
        CASE WHEN copied THEN runs.created_at + n * interval '10 ms' END,
        CASE WHEN ended THEN 1000 END, CASE WHEN ended THEN 0 END, ended,
        CASE WHEN ended THEN runs.created_at + interval '3 minutes' END,
        CASE WHEN ended AND purge_mode = 'system' THEN 1000 ELSE 0 END,
        CASE WHEN ended AND purge_mode = 'system' THEN 0 END,
        CASE WHEN ended AND purge_mode = 'system' THEN runs.created_at + interval '4 minutes' END,
        2, 1, CASE WHEN NOT copied AND runs.state = 'failed' THEN runs.error END
    FROM (
        SELECT id, state, error, created_at,
            CASE WHEN id = (SELECT max(id) FROM runs WHERE state = 'succeeded')
                THEN :large ELSE :each END AS many
        FROM runs
    ) runs
    JOIN jobs ON jobs.run = runs.id
    CROSS JOIN LATERAL generate_series(1, many) n
    CROSS JOIN LATERAL (
        SELECT runs.state = 'succeeded' AS ended,
            runs.state = 'succeeded' OR n <= many / 2 AS copied
    ) done
    """,
    """
    INSERT INTO differences (run, job, attempt, batch, phase, kind, key, columns, source, target,
        reason)
    SELECT id, :job, 1, n % 20 + 1, 'check', 'changed', '["' || n || '"]', '["a"]', '["x"]',
        '["y"]', ''
    FROM runs CROSS JOIN generate_series(1, 100) n
    WHERE state = 'failed'
    """,
    """
    INSERT INTO receipts (seq, run, job, batch, body, previous_hash, hash, created_at)
    SELECT row_number() OVER (ORDER BY purged_at, run, number), run, job, number, '{}', md5(run),
        md5(run || number), purged_at
    FROM batches WHERE purged_at IS NOT NULL
    """,
)
_PEOPLE = (
    """
    INSERT INTO role_members SELECT 'role_' || n % 30, 'user_' || n FROM generate_series(0, 299) n
    """,
    """
    INSERT INTO known_users SELECT 'user_' || n, false, now() FROM generate_series(0, 299) n
    """,
    """
    INSERT INTO grants (id, holder, is_role, connection, container, item, is_path, privileges,
        granted_by, granted_at)
    SELECT 'grant-' || n, CASE WHEN n % 4 = 0 THEN 'role_' || n % 30 ELSE 'user_' || n % 300 END,
        n % 4 = 0, 'shop_' || n % :connections, 'public', 'table_' || n, false, 'purge read',
        'anna', now() - n * interval '1 hour'
    FROM generate_series(1, :grants) n
    """,
)
_REQUESTED = (
    """
    INSERT INTO requests
    SELECT (jsonb_populate_record(first, jsonb_build_object(
        'id', to_char(at, 'YYYYMMDD"T"HH24MISS') || '-' || substr(md5(n::text), 1, 6),
        'key', 'bench/' || n, 'number', 1, 'task', 'task_' || lpad((n % :tasks)::text, 3, '0'),
        'title', 'Move table ' || n % :tasks, 'requester', 'user_' || n % 300,
        'process', 'Process' || n % 20,
        'state', CASE WHEN n > :requests - 20 THEN 'APPROVING' ELSE 'EXECUTION_SUCCEEDED' END,
        'ended_at', CASE WHEN n <= :requests - 20 THEN at END, 'created_at', at))).*
    FROM (
        SELECT n, now() - (:requests - n) * interval '1 hour' AS at
        FROM generate_series(1, :requests) n
    ) numbered CROSS JOIN requests first
    """,
    """
    INSERT INTO decisions (request, node, actor, verdict, comment, digest, decided_at)
    SELECT id, 0, 'anna', 'approved', 'as agreed', digest, created_at
    FROM requests WHERE state = 'EXECUTION_SUCCEEDED'
    """,
    """
    INSERT INTO request_changes (request, version, before, after, actor, note, changed_at)
    SELECT id, n, CASE WHEN n > 1 THEN 'APPROVING' END, state, 'anna', '', created_at
    FROM requests CROSS JOIN generate_series(1, 4) n
    WHERE state = 'EXECUTION_SUCCEEDED'
    """,
)
_AUDITED = (
    """
    INSERT INTO audit (seq, actor, action, object, body, previous_hash, hash, recorded_at)
    SELECT seq + n, 'user_' || n % 300,
        CASE WHEN n % 25 = 0 THEN 'grant.add' WHEN n % 40 = 0 THEN 'role.add'
            ELSE 'request.approving' END,
        CASE WHEN n % 25 = 0 THEN 'grant ' ELSE 'request ' END || n,
        json_build_object('seq', seq + n, 'actor', 'user_' || n % 300, 'after',
            json_build_object('holder', 'user_' || n % 300, 'connection', 'shop_1',
                'privileges', json_build_array('read')))::text,
        md5(n::text), md5((n + 1)::text), now() - (:audit - n) * interval '1 minute'
    FROM generate_series(1, :audit) n CROSS JOIN (SELECT max(seq) AS seq FROM audit) last
    """,
    """
    UPDATE audit_head SET (seq, hash) = (SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1)
    """,
)
