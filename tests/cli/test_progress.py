"""Lines and bars of a running job."""

from __future__ import annotations

import io
import threading

from dsp_airflow.engine.events import BatchDone, BatchStarted, JobDone, JobStarted
from dsp_airflow.progress import LogWatch, RichWatch

EVENTS = [
    JobStarted("copy", "Sync Users to Analytics", "public.users", 50_000, 50),
    BatchStarted("copy", "Sync Users to Analytics", 1, 50, 1000),
    BatchDone("copy", "Sync Users to Analytics", 1, 50, 1000, 0.1),
    BatchStarted("copy", "Sync Users to Analytics", 2, 50, 1000),
    JobDone("copy", "Sync Users to Analytics", 50_000, 50_000, 0),
]
# As the customer's manual shows them.
LINES = """\
Starting sync job: Sync Users to Analytics
Fetching records from source: users
Total records: 50,000
Processing batch 1/50 (1000 records)
Processing batch 2/50 (1000 records)
Sync completed. Total: 50,000, Success: 50,000, Failed: 0
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_of_a_copy() -> None:
    told: list[str] = []
    watch = LogWatch(told.append, {"Sync Users to Analytics": "users"})
    for event in EVENTS:
        watch.on(event)
    assert "\n".join(told) + "\n" == LINES


def test_without_the_file_the_plan_names_the_table() -> None:
    told: list[str] = []
    LogWatch(told.append).on(EVENTS[0])
    assert told[1] == "Fetching records from source: public.users"


def test_lines_of_check_and_purge() -> None:
    told: list[str] = []
    watch = LogWatch(told.append, {"j": "t"})
    for event in (
        JobStarted("check", "j", "public.t2", 2000, 2),
        BatchStarted("check", "j", 1, 2, 1000),
        BatchDone("check", "j", 1, 2, 1000, 0.1, 3),
        JobDone("check", "j", 2000, 1000, 3),
        JobStarted("purge", "j", "public.t", 2000, 2),
        BatchStarted("purge", "j", 2, 2, 1000),
        BatchDone("purge", "j", 2, 2, 999, 0.1, 1),
        JobDone("purge", "j", 2000, 1999, 1),
        "an event of a later version",
    ):
        watch.on(event)
    assert told == [
        "Starting consistency check: j",
        "Comparing records in target: public.t2",
        "Total records: 2,000",
        "Checking batch 1/2 (1000 records)",
        "Batch 1/2: 3 records differ",
        "Check completed. Total: 2,000, Compared: 1,000, Different: 3",
        "Starting purge: j",
        "Deleting proved records from source: t",
        "Total records: 2,000",
        "Purging batch 2/2 (1000 records)",
        "Batch 2/2: 1 records were kept",
        "Purge completed. Purged: 1,999, Kept: 1",
    ]


def test_lines_alone_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with RichWatch(stream, {"Sync Users to Analytics": "users"}) as watch:
        for event in EVENTS:
            watch.on(event)
    assert stream.getvalue() == "".join(f"[INFO] {line}\n" for line in LINES.splitlines())


def test_bars_below_the_lines_on_a_terminal() -> None:
    stream = Terminal()
    with RichWatch(stream) as watch:
        watch.expect("copy", "Sync Users to Analytics", 10_000, 20_000)
        for event in EVENTS[:3]:
            watch.on(event)
    shown = stream.getvalue()
    assert "[INFO] Processing batch 1/50 (1000 records)" in shown
    assert "11,000/20,000 rows" in shown
    assert "55%" in shown


def test_lines_of_one_event_stay_together() -> None:
    told: list[str] = []
    watch = LogWatch(told.append)

    def work(name: str) -> None:
        for _ in range(200):
            watch.on(JobStarted("copy", name, name, 5, 1))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first, second in zip(told[::3], told[1::3], strict=True):
        assert first[-1] == second[-1]
