"""An SMTP server that stores mails: `python -m dsp_airflow.demo.smtp_sink FOLDER HOST PORT`."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

MAX_MAIL_BYTES = 32 * 1024 * 1024


class Store:
    """The handler aiosmtpd calls for each mail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: Iterator[int] = itertools.count(len(list(folder.glob("*.eml"))) + 1)

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd looks for
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Write the mail whole or not at all: a reader never sees half a file."""
        name = f"{next(self._numbers):06d}"
        content = envelope.original_content or b""
        recipients = ", ".join(envelope.rcpt_tos)
        partial = self._folder / f"{name}.part"
        partial.write_bytes(f"X-RcptTo: {recipients}\r\n".encode() + content)
        partial.rename(self._folder / f"{name}.eml")
        return "250 OK"


async def serve(folder: Path, host: str, port: int) -> None:
    """Accept mails until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    store = Store(folder)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(
        lambda: SMTP(store, data_size_limit=MAX_MAIL_BYTES, enable_SMTPUTF8=True, loop=loop),
        host,
        port,
    )
    async with server:
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
