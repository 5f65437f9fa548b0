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
                    "enforce_approval": _option(
                        "Whether a task waits until people have approved it. Must say the same in "
                        "every process of Airflow and wherever dsp is run. Default: True.",
                        "boolean",
                        "False",
                    ),
                    "enforce_grants": _option(
                        "Whether work needs grants on what it touches. Must say the same in every "
                        "process of Airflow and wherever dsp is run. Default: True.",
                        "boolean",
                        "False",
                    ),
                    "administrators": _option(
                        "Users who are administrators besides those with the role and those whom "
                        "Airflow's auth manager makes one: a list such as anna, otto. Must say the "
                        "same in every process of Airflow and wherever dsp is run.",
                        "string",
                        "anna, otto",
                    ),
                    "processes_folder": _option(
                        "Where process files are. Default: processes, in the DAG folder.",
                        "string",
                        "${AIRFLOW_HOME}/processes",
                    ),
                    "default_process": _option(
                        "The approval process that holds where none matches, by name. Default: the "
                        "built-in one, in which the administrators decide.",
                        "string",
                        "Everybody",
                    ),
                    "estimate_tolerance": _option(
                        "Percent by which the rows of a job may differ from what was approved. "
                        "Default: 20.",
                        "integer",
                        "20",
                    ),
                    "connection_labels": _option(
                        "Labels of connections, for approval processes: JSON, a list of "
                        "connections for each label.",
                        "string",
                        '{"production": ["shop_pg", "warehouse_mysql"]}',
                    ),
                    "cli_users": _option(
                        "Who acts on the command line where that is not the operating system's "
                        "user: a list of login=user.",
                        "string",
                        "deploy=anna",
                    ),
                    "pools": _option(
                        "connections: every step goes into the pool dsp_<connection> of the "
                        "database it works on, which dsp pools sync creates. Default: Airflow's "
                        "default pool.",
                        "string",
                        "connections",
                    ),
                    "pool_size": _option(
                        "Slots of each of these pools. Default: 8.", "integer", "16"
                    ),
                    "allow_save": _option(
                        "Whether the form for new tasks may save a file into the folder of task "
                        "files, for who may edit DAGs and holds the grants that the task needs. "
                        "Default: False.",
                        "boolean",
                        "True",
                    ),
                    "rollback_days": _option(
                        "Days after which what a run of a job with rollback: true would be undone "
                        "by is dropped, when a later run of the job begins. Default: 30.",
                        "integer",
                        "30",
                    ),
                    "mail_domain": _option(
                        "Where mails to users go whose names are no addresses.",
                        "string",
                        "example.com",
                    ),
                },
            },
        },
    }


def _option(description: str, kind: str, example: str) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": None,
    }
