"""Airflow triggers. None yet: a trigger would wait for a decision, and none is asked for."""
