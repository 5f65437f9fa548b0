"""Mails about the ends of runs: what they say, who is told, and that each is sent once."""

from dsp_airflow.notify.ended import LATEST, Act, Event, RunEnded

__all__ = ["LATEST", "Act", "Event", "RunEnded"]
