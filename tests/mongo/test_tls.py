"""MongoDB behind TLS, with a CA of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dsp_airflow.connections import Finding, check_connection, open_store
from dsp_airflow.engine.errors import ConfigError, Transient
from dsp_airflow.engine.ports import Store
from tests.engine.harness import Bench
from tests.servers import MongoDatabase, MongoServer

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A CA, whose certificate is in ``file``."""

    folder: Path
    name: str

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def signed(self, host: str) -> Path:
        """A key and a certificate of a server that is called so; makes the CA first."""
        key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate(self.name, key, self.name, key, x509.BasicConstraints(True, None))
        self.file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        own = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = _certificate(host, own, self.name, key, names)
        found = self.folder / f"{host}.pem"
        found.touch(mode=0o600)
        found.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return found


def _certificate(
    subject: str, key: Any, issuer: str, signer: Any, extension: Any
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(extension, critical=False)
        .sign(signer, hashes.SHA256())
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def server(authority: Authority) -> Iterator[MongoServer]:
    """It is called ``localhost``, and takes connections without TLS as long as nobody forbids."""
    own = authority.signed("localhost")
    options = ["--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(own)]
    options += ["--tlsCAFile", str(authority.file), "--tlsAllowConnectionsWithoutCertificates"]
    with MongoServer(options=options) as server:
        yield server


class Connected(Bench[Any]):
    """Whose stores are those of Airflow's connections."""

    def store(self, conn_id: str) -> Store:
        return open_store(conn_id)


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_who_is_trusted(
    server: MongoServer,
    authority: Authority,
    mongo_db: MongoDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stranger = Authority(tmp_path, "stranger")
    stranger.signed("elsewhere")

    def given(host: str = "localhost", **extra: str) -> None:
        options = {"serverSelectionTimeoutMS": "700", "tls": "true", **extra}
        uri = server.airflow_uri("shop", **options).replace("127.0.0.1", host)
        monkeypatch.setenv("AIRFLOW_CONN_SOURCE", uri)

    def refused() -> Finding:
        with pytest.raises(ConfigError) as error, open_store("source").session():
            pass
        assert server.password not in str(error.value)
        (found,) = check_connection("source")
        assert (found.subject, found.state) == ("reachable", "failed")
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for extra in ({"tlsCAFile": str(stranger.file)}, {}):
            given(**extra)
            assert "tlsCAFile" in refused().remedy
        given("127.0.0.1", tlsCAFile=str(authority.file))
        assert "a name that its certificate has" in refused().remedy
        for file in (tmp_path / "none.pem", tmp_path / "empty.pem"):
            (tmp_path / "empty.pem").touch()
            given(tlsCAFile=str(file))
            assert "correct tlsCAFile" in refused().remedy
        given(tlsCAFile=str(stranger.file), allow_insecure="true")
        found = by_subject(check_connection("source"))["encryption"]
        assert (found.state, "allow_insecure" in found.remedy) == ("warning", True)
        given(tlsCAFile=str(authority.file))
        found = by_subject(check_connection("source"))["encryption"]
        assert (found.state, found.text) == ("ok", "TLS")

        # From now on it takes nothing else.
        with server.connect() as client:
            client["shop"]["t"].insert_many([{"_id": n} for n in range(100)])
            client.admin.command({"setParameter": 1, "tlsMode": "requireTLS"})
        given(tls="false")
        with pytest.raises(Transient, match="takes TLS only"), open_store("source").session():
            pass

        given(tlsCAFile=str(authority.file))
        monkeypatch.setenv("AIRFLOW_CONN_TARGET", mongo_db.uri)
        bench = Connected(tmp_path, None, None)
        target = {"table": "t"}
        bench.write(bench.job(table="t", target=target, check={"percent": 100}, purge="system"))
        (job,) = bench.run().jobs
    assert (job.rows_purged, job.rows_kept, job.rows_different) == (100, 0, 0)
    assert mongo_db["t"].count_documents({}) == 100
