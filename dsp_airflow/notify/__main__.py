"""``python -m dsp_airflow.notify``: a relay, told on standard input what it is for."""

from __future__ import annotations

import json
import logging
import sys

from dsp_airflow.notify import relay

if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s dsp mails: %(message)s",
    )
    relay.run(**json.load(sys.stdin))
