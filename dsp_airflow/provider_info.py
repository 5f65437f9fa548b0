"""What Airflow reads about this package: its name and its settings."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata; Airflow calls this in every process, so it imports nothing."""
    return {
        "package-name": "dsp-airflow",
        "name": "DSP",
        "description": "Copy, archive, prove and purge database tables, from YAML task files.",
        "config": {
            "dsp": {
                "description": "Settings of dsp-airflow.",
                "options": {
                    "sql_alchemy_conn": {
                        "description": (
                            "The package's own database: an SQLAlchemy URL of SQLite (one machine) "
                            "or PostgreSQL. Default: dsp.db, SQLite, in AIRFLOW_HOME."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "sensitive": True,
                        "example": "postgresql+psycopg://dsp:secret@db/dsp",
                        "default": None,
                    },
                },
            },
        },
    }
