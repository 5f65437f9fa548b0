"""MySQL 9 from the user's cache: a throwaway server, as MariaDB's is in the demonstration."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from dsp_airflow.demo.mariadb import MySQLFamilyServer
from dsp_airflow.demo.process import ServerError

FETCH_MYSQL = Path(__file__).parents[2] / "scripts" / "mysql-server"


class MySQLMissingError(ServerError):
    """MySQL 9 could not be had on this machine; the message says why."""


class MySQLServer(MySQLFamilyServer):
    """MySQL 9, as scripts/mysql-server has unpacked it."""

    product = "MySQL"
    classic_hashing = True
    """Whether it is given the function MD5."""

    def start(self) -> None:
        """As above; raise MySQLMissingError, with the reason, where it could not be had."""
        self._home = mysql_folder()
        super().start()
        if self.classic_hashing:
            # Since 9.6 the function MD5 is a component.
            self.run("INSTALL COMPONENT 'file://component_classic_hashing'")

    def _create(self) -> None:
        if self._created_with():
            super()._create()
        else:
            shutil.copytree(self._home / "data", self.folder / "data")

    def _init_command(self) -> list[str]:
        return [self._program, *self._common(), *self._created_with(), "--initialize-insecure"]

    def _server_command(self) -> list[str]:
        return [self._program, *self._common(), "--mysqlx=OFF"]

    @property
    def _program(self) -> str:
        return str(self._home / "bin" / "mysqld")


def mysql_folder() -> Path:
    """Return the folder of MySQL's programs; raise MySQLMissingError."""
    done = subprocess.run([str(FETCH_MYSQL), "where"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MySQLMissingError(done.stdout.strip() or done.stderr.strip())
    return Path(done.stdout.strip())
