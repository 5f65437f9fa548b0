"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dsp_airflow.engine.errors import Refused, Transient


@contextmanager
def new_file(target: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that only its owner may read, under its name once it is written and on disk.

    An existing one is not replaced: ``Refused``. ``Transient`` where it cannot be written. ``mode``
    lets others read it, too, as far as the process's umask does.
    """
    if target.exists():
        raise Refused(f"{target} exists already; name a new file")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(part, target)
    except FileExistsError as error:
        raise Refused(f"{target} exists already; name a new file") from error
    except OSError as error:
        raise Transient(f"{target} could not be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
