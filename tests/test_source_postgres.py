"""A real PostgreSQL on loopback: what a query answers is copied exactly, read-only, in batches."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row
from test_sources import COPIED, billed, fetch, lab_of, names

from finops_lab.errors import InputError
from finops_lab.lab import open_lab

pytest.importorskip("adbc_driver_postgresql", reason="no adbc-driver-postgresql here (finops-lab[postgres])")

PASSWORD = "p@ss/word of tests"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run a PostgreSQL that wants a password; return its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if not found:
        pytest.skip("no initdb below /usr/lib/postgresql (Debian package: postgresql)")
    # PostgreSQL refuses to run as root; its package made a user for it.
    as_user = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    )
    # Not below pytest's folder, which that user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="finops-lab-postgres-"))
    (folder / "password").write_text(PASSWORD)
    if as_user:
        user = pwd.getpwnam("postgres")
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = found[-1].parent

    def run(name: str, *arguments: str) -> None:
        with (folder / "said").open("ab") as said:
            done = subprocess.run(
                [*as_user, program / name, "-D", folder / "data", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
        assert done.returncode == 0, (folder / "said").read_text()

    try:
        run("initdb", "--username=finops", f"--pwfile={folder}/password", "--auth=scram-sha-256",
            "--encoding=UTF8", "--no-locale", "--no-sync")  # fmt: skip
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "start", "--wait", f"--log={folder}/log", f"--options={settings}")
        try:
            yield f"postgresql://finops@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the server's address, with nothing of this machine's own settings."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    return server


def execute(database: str, *statements: str) -> None:
    from adbc_driver_postgresql import dbapi

    address = database.replace("@", ":p%40ss%2Fword%20of%20tests@")
    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


def answer(tmp_path: Path, database: str, query: str, **options: str) -> pl.DataFrame:
    copies = fetch(
        tmp_path / "copies",
        kind="postgres",
        url=database,
        query=query,
        options={"password": PASSWORD, **options},
    )
    assert names(copies) == ["answer.parquet"]
    return pl.read_parquet(copies / "answer.parquet")


def test_a_bill_in_a_database_is_ingested_exactly(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [
        f'"{name}" {"numeric(38,18)" if name.endswith("Cost") else "timestamptz" if "Period" in name else "text"}'
        for name in cost_row("0")
    ]
    rows = [
        "(" + ", ".join(f"'{value}'" for value in cost_row(amount).values()) + ")"
        for amount in ("0.000000000000000001", "12345678901234567890.1")
    ]
    execute(
        database,
        "DROP TABLE IF EXISTS charges",
        f"CREATE TABLE charges ({', '.join(columns)})",
        f"INSERT INTO charges VALUES {', '.join(rows)}",
    )
    monkeypatch.setenv("FINOPS_DB_PASSWORD", PASSWORD)
    folder = lab_of(
        tmp_path / "lab",
        f'[[sources]]\nname = "ledger"\nkind = "postgres"\nurl = "{database}"\n'
        'query = "SELECT * FROM charges;"\noptions = { password = "${FINOPS_DB_PASSWORD}" }\n',
    )
    expected = Decimal("12345678901234567890.100000000000000001")
    lab = open_lab(folder, progress=False)
    assert billed(lab) == expected
    starts = lab.costs().select("ChargePeriodStart").unique().collect().to_series().to_list()
    assert starts == [datetime(2026, 9, 3, tzinfo=UTC)]
    state = (folder / COPIED / "ledger" / ".fetched.json").read_text(encoding="utf-8")
    assert PASSWORD not in state
    execute(database, 'UPDATE charges SET "BilledCost" = 0.25 WHERE "BilledCost" < 1')
    assert billed(open_lab(folder, progress=False)) == expected
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("12345678901234567890.35")


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("0.1000000000000000055511151231257827::numeric", "0.1000000000000000055511151231257827"),
        ("12345678901234567890.1::numeric(38,10)", "12345678901234567890.1000000000"),
        ("'NaN'::numeric", "NaN"),
        ("NULL::numeric", None),
        ("'-$1,234.56'::money", "-1234.56"),  # the driver gives it as cents
        ("timestamptz '2026-09-01 00:00+02'", datetime(2026, 8, 31, 22, tzinfo=UTC)),
        ("timestamp '2026-09-01 00:00'", datetime(2026, 9, 1, tzinfo=UTC)),
        ("'infinity'::timestamptz", None),
        ("'-infinity'::timestamp", None),
        ("date '2026-09-01'", date(2026, 9, 1)),
        ("'infinity'::date", None),
        ("'a1b2c3d4-0000-0000-0000-000000000001'::uuid", "a1b2c3d4-0000-0000-0000-000000000001"),
        ('\'{"team": "search"}\'::jsonb', '{"team": "search"}'),
        ("ARRAY[1.50::numeric, NULL]", "[1.50,null]"),
        ("inet '10.0.0.1'", "10.0.0.1/32"),
        ("interval '1 day'", "1 day"),
        ("time '10:00'", "10:00:00"),
        ("'x'::char(5)", "x"),
        (r"'\xff00'::bytea", "ff00"),
        ("true", True),
        ("9007199254740993::int8", 9007199254740993),
        ("0.1::float8", 0.1),
        ("NULL", None),
    ],
)
def test_types_keep_what_they_say(tmp_path: Path, database: str, literal: str, expected: object) -> None:
    frame = answer(tmp_path, database, f'SELECT {literal} AS "Value"')
    assert frame.columns == ["Value"]
    found: Any = frame.item()
    assert found == expected
    assert type(found) is type(expected)


def test_enums_domains_and_odd_names(tmp_path: Path, database: str) -> None:
    execute(
        database,
        "DROP TABLE IF EXISTS odd",
        "DROP TYPE IF EXISTS category",
        "DROP DOMAIN IF EXISTS euros",
        "CREATE TYPE category AS ENUM ('Usage', 'Tax')",
        "CREATE DOMAIN euros AS numeric(20, 4)",
        'CREATE TABLE odd ("a ""quoted"" *" category, amount euros)',
        "INSERT INTO odd VALUES ('Tax', 12.3456)",
    )
    frame = answer(tmp_path, database, "SELECT * FROM odd -- a note at the end")
    assert frame.to_dicts() == [{'a "quoted" *': "Tax", "amount": "12.3456"}]


def test_the_transaction_is_read_only(tmp_path: Path, database: str) -> None:
    execute(
        database,
        "DROP TABLE IF EXISTS kept",
        "CREATE TABLE kept AS SELECT 1 AS x",
        "CREATE OR REPLACE FUNCTION spoil() RETURNS int LANGUAGE sql AS 'DELETE FROM kept RETURNING x'",
    )
    said = r"cannot be copied: cannot execute DELETE in a read-only transaction"
    with pytest.raises(InputError, match=said):
        answer(tmp_path, database, "SELECT spoil() AS x")
    with pytest.raises(InputError, match="cannot be copied: syntax error"):
        answer(tmp_path, database, "DELETE FROM kept RETURNING x")
    assert answer(tmp_path, database, "SELECT count(*) AS n FROM kept").item() == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM no_such_table", 'relation "no_such_table" does not exist'),
        ("SELEC 1", "syntax error at or near"),
        ("SELECT 1 AS a; SELECT 2 AS b", 'syntax error at or near ";"'),
        ("SELECT 1 AS a, 2 AS a", "two columns 'a'. Hint: name one of them with AS"),
        ("SELECT", "answers no columns"),
        ("", "syntax error"),
        ("SELECT 1 / (150000 - n) AS x FROM generate_series(1, 200000) AS n", "division by zero"),
    ],
)
def test_a_refused_query_is_one_line(tmp_path: Path, database: str, query: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        answer(tmp_path, database, query)
    assert said in str(caught.value)
    assert str(caught.value).startswith("[[sources]] 'bills' (postgresql://127.0.0.1:")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copies" / "bills").exists()


def test_a_query_that_breaks_leaves_the_last_answer(tmp_path: Path, database: str) -> None:
    assert answer(tmp_path, database, "SELECT 1 AS x").item() == 1
    with pytest.raises(InputError, match="division by zero"):
        answer(tmp_path, database, "SELECT 1 / (150000 - n) AS x FROM generate_series(1, 200000) AS n")
    copies = tmp_path / "copies" / "bills"
    assert pl.read_parquet(copies / "answer.parquet").item() == 1


def test_an_answer_without_rows_keeps_its_columns(tmp_path: Path, database: str) -> None:
    frame = answer(tmp_path, database, "SELECT 1.5::numeric AS a, now() AS b WHERE false")
    assert (frame.height, frame.schema) == (0, {"a": pl.String(), "b": pl.Datetime("us", "UTC")})


def test_a_long_answer_comes_in_batches_and_whole(tmp_path: Path, database: str) -> None:
    query = "SELECT (n / 1000.0)::numeric(38, 18) AS amount, md5(n::text) AS k FROM generate_series(1, 400000) AS n"
    frame = answer(tmp_path, database, query)
    assert (frame.height, frame["k"].n_unique()) == (400_000, 400_000)
    assert frame["amount"].cast(pl.Decimal(38, 18)).sum() == Decimal(400_000 * 400_001 // 2) / 1000


def test_a_server_that_is_not_there_or_says_no(tmp_path: Path, database: str) -> None:
    with pytest.raises(InputError, match=r"password authentication failed.*check the credentials") as caught:
        answer(tmp_path, database, "SELECT 1 AS x", password="wrong-secret")
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(InputError, match='database "absent" does not exist'):
        answer(tmp_path, database.replace("/postgres", "/absent"), "SELECT 1 AS x")
    with pytest.raises(InputError, match="server does not support SSL, but SSL was required"):
        answer(tmp_path, database, "SELECT 1 AS x", sslmode="require")
    with pytest.raises(InputError, match=r"Connection refused.*whether it can be reached"):
        answer(tmp_path, "postgresql://finops@127.0.0.1:9/postgres", "SELECT 1 AS x")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/bills",
        "host=localhost password=hunter2",
        "postgresql://finops:hun@ter/2@localhost/bills",
        "postgresql://finops:hunter2@localhost:port/bills",
    ],
)
def test_addresses_that_make_no_sense_and_their_secrets(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"is no address of a PostgreSQL database.*%40 for @") as caught:
        answer(tmp_path, url, "SELECT 1 AS x")
    assert "hun" not in str(caught.value)
