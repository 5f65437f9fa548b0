"""Airflow operators: one step of a task each, also usable in a hand-written DAG."""
