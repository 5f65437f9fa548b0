"""``python -m dsp_airflow.notify``: a relay, told on standard input what it is for."""

from __future__ import annotations

import json
import logging
import sys

from dsp_airflow.notify import relay

if __name__ == "__main__":
    # Of its own: Airflow sets up the root logger anew when it is imported.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logger = logging.getLogger("dsp_airflow")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    relay.run(**json.load(sys.stdin))
