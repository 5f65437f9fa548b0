"""Moves, checks and deletes rows. Knows nothing of Airflow."""
