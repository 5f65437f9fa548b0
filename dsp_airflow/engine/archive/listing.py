"""Which runs are archived at a place, and what the manifest of each says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from dsp_airflow.config.archives import BUCKET, S3Job, prefixes_like
from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.archive.manifest import Manifest, read_manifest
from dsp_airflow.engine.errors import ConfigError, Mismatch
from dsp_airflow.engine.model import Archive
from dsp_airflow.engine.stores.s3 import Bucket, Listed, S3Store

READERS: Final = 8
"""Manifests read at once."""
OWNER: Final = "_dsp.json"
_RUN: Final = re.compile(r"(?P<above>.+)/run=(?P<run>[^/]+)/(?P<name>[^/]+)", re.DOTALL)
_FILE: Final = re.compile(rf"(?P<above>.+?)/run=(?P<run>[^/]+)/{layout.FILES}.+", re.DOTALL)
_PARTITION: Final = re.compile(r"(?P<above>.+)/[A-Za-z_][A-Za-z0-9_]*=[^/]*", re.DOTALL)
_URL: Final = re.compile(r"s3://(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where archives are looked for: in a bucket, under names that begin with ``begin``.

    ``like`` is how their prefixes look, ``None`` for any. ``run``: only the one of this name.
    ``label`` is for messages.
    """

    bucket: Bucket
    begin: str
    label: str
    like: re.Pattern[str] | None = None
    run: str | None = None

    def holds(self, prefix: str) -> bool:
        """Whether an archive of this prefix is meant."""
        return self.like is None or self.like.fullmatch(prefix) is not None


def place_of(job: S3Job, task: str, store: S3Store) -> Place:
    """Everything that runs of the job have written, whatever the day."""
    target = job.target
    begin, like = prefixes_like(target.prefix, {"task": task, "job": job.name})
    if like.fullmatch(begin):
        begin += "/"
    bucket = store.bucket(target.bucket)
    return Place(bucket, begin, f"s3://{target.bucket}/{target.prefix}", like)


def place_at(url: str, store: S3Store) -> Place:
    """``s3://bucket/prefix``: that archive and those below it. The prefix is taken as written.

    ``.../run=<id>`` is that run alone.
    """
    match = _URL.fullmatch(url)
    if match is None or re.fullmatch(BUCKET, match["bucket"]) is None:
        raise ConfigError(f"{url!r} is no place in S3; write s3://bucket/prefix")
    prefix = (match["prefix"] or "").strip("/")
    above, _, last = prefix.rpartition("/")
    run = like = None
    if above and last.startswith("run="):
        # Its data may lie in folders of partitions beside it.
        prefix, run = above, last.removeprefix("run=")
        like = re.compile(re.escape(above))
    begin = f"{prefix}/" if prefix else ""
    return Place(store.bucket(match["bucket"]), begin, url, like, run)


@dataclass
class FoundRun:
    """The folder of one run, as a look at its names tells of it."""

    bucket: Bucket
    prefix: str
    run: str
    objects: int = 0
    """Besides the manifest and the receipts."""
    size: int = 0
    """Of those, in bytes, and of the files of a bucket."""
    manifest: Listed | None = None
    receipts: Listed | None = None
    last: Listed | None = field(default=None, repr=False)
    """The youngest of all."""

    @property
    def archive(self) -> Archive:
        """Good for names of objects that are none of the data."""
        return Archive(self.bucket.name, self.prefix, "parquet", "none")

    @property
    def folder(self) -> str:
        """Names of its objects begin so."""
        return layout.run_folder(self.archive, self.run)

    @property
    def manifest_key(self) -> str:
        """Where its manifest is, or would be."""
        return layout.manifest_key(self.archive, self.run)

    @property
    def receipts_key(self) -> str:
        """Where its receipts are, or would be."""
        return layout.receipts_key(self.archive, self.run)

    def label(self, key: str | None = None) -> str:
        """For messages: one of its objects, or the whole folder."""
        return self.bucket.label(self.folder if key is None else key)

    def is_of(self, run: str) -> bool:
        """Whether it is that run, or an attempt of it (``<run>.2``)."""
        return self.run == run or self.run.startswith(f"{run}.")

    def add(self, found: Listed) -> None:
        """An object of the run, whatever its partition."""
        if found.key == self.manifest_key:
            self.manifest = found
        elif found.key == self.receipts_key:
            self.receipts = found
        else:
            self.objects += 1
            self.size += found.size
        if self.last is None or _later(found, self.last):
            self.last = found


def _later(one: Listed, other: Listed) -> bool:
    return one.modified is not None and (other.modified is None or one.modified > other.modified)


def find(place: Place) -> list[FoundRun]:
    """The runs at a place, the youngest first.

    Raises ``ConfigError`` when there is no archive; one without runs has none to give.
    """
    folders: dict[tuple[str, str], list[Listed]] = {}
    prefixes: set[str] = set()
    files: dict[tuple[str, str], int] = {}
    for found in place.bucket.list(place.begin):
        file = _FILE.fullmatch(found.key)
        if file is not None:
            # There may be millions, and their names mean nothing here.
            if place.run not in (None, file["run"]):
                continue
            at_file = file["above"], file["run"]
            folders.setdefault(at_file, [])
            files[at_file] = files.get(at_file, 0) + found.size
            continue
        match = _RUN.fullmatch(found.key)
        if match is None:
            above, _, name = found.key.rpartition("/")
            if name == OWNER:
                prefixes.add(above)
        elif place.run in (None, match["run"]):
            folders.setdefault((match["above"], match["run"]), []).append(found)
            if match["name"] == "_manifest.json":
                prefixes.add(match["above"])
    runs: dict[tuple[str, str], FoundRun] = {}
    for (above, run), objects in folders.items():
        prefix = _prefix(above, prefixes)
        if place.holds(prefix):
            at = runs.setdefault((prefix, run), FoundRun(place.bucket, prefix, run))
            for each in objects:
                at.add(each)
            at.size += files.get((above, run), 0)
    if not runs and not any(map(place.holds, prefixes)):
        raise ConfigError(
            f"{place.label} holds no archive: below it is neither a folder run=... nor an object "
            f"{OWNER}; correct the place, or run the job first"
        )
    return sorted(runs.values(), key=_age, reverse=True)


def _age(at: FoundRun) -> tuple[str, int, str]:
    """Names of runs sort by their time; attempts are numbers, of which the first has none."""
    run, _, attempt = at.run.partition(".")
    return run, int(attempt) if attempt.isdecimal() else 1, at.prefix


def _prefix(above: str, known: Collection[str]) -> str:
    """Of the archive that a folder belongs to: it may be one of a partition, ``year=2013``."""
    prefix = above
    while prefix not in known:
        match = _PARTITION.fullmatch(prefix)
        if match is None:
            return above
        prefix = match["above"]
    return prefix


@dataclass(frozen=True)
class Opened:
    """A run with its manifest; or with the reason why there is none to rely on."""

    at: FoundRun
    manifest: Manifest | None
    problem: str = ""

    @property
    def state(self) -> str:
        """``complete``, ``unfinished`` (no manifest) or ``damaged`` (one that is not right)."""
        if self.at.manifest is None:
            return "unfinished"
        return "damaged" if self.manifest is None else "complete"


def manifest_at(at: FoundRun) -> Manifest:
    """See ``manifest.read_manifest``; ``Mismatch`` too when it is one of another folder."""
    manifest = read_manifest(at.bucket, at.manifest_key)
    why = out_of_place(manifest, at)
    if why:
        raise Mismatch(f"{at.label(at.manifest_key)} {why}")
    return manifest


def out_of_place(manifest: Manifest, at: FoundRun) -> str:
    """How a manifest shows that it belongs elsewhere; empty when it does not.

    Another bucket is fine: whole archives are copied and replicated.
    """
    if (manifest.prefix, manifest.run) == (at.prefix, at.run):
        return ""
    where = layout.run_folder(
        Archive(manifest.bucket, manifest.prefix, "parquet", "none"), manifest.run
    )
    return f"is the manifest of {where}; put back the one that belongs here"


def opened(runs: Iterable[FoundRun]) -> Iterator[Opened]:
    """Each run with its manifest, in their order; a bad one hides no other."""

    def read(at: FoundRun) -> Opened:
        if at.manifest is None:
            return Opened(at, None)
        try:
            return Opened(at, manifest_at(at))
        except Mismatch as error:
            return Opened(at, None, str(error))

    with ThreadPoolExecutor(READERS, thread_name_prefix="dsp-manifest") as pool:
        yield from pool.map(read, runs)
