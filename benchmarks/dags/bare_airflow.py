"""The smallest Dag that plans, fans out, joins and publishes the same feeds: what the pipeline is compared with."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import dag, task

FOLDER = Path(__file__).parent.parent / "data"


@dag(schedule=None, tags=["benchmark"])
def bare_airflow() -> None:
    """Build the Dag."""

    @task
    def plan() -> list[str]:
        return sorted(path.stem for path in FOLDER.glob("feed_*.csv"))

    @task
    def branch(feed: str) -> str:
        import duckdb

        staged = FOLDER / f"{feed}.parquet"
        duckdb.connect().execute(
            f"COPY (SELECT * FROM read_csv('{FOLDER / feed}.csv')) TO '{staged}' (FORMAT parquet)"
        )
        return str(staged)

    @task
    def join(staged: list[str]) -> str:
        import duckdb

        merged = FOLDER / "merged.csv"
        duckdb.connect().execute(
            f"COPY (SELECT DISTINCT ON (code) * FROM read_parquet({list(staged)})) TO '{merged}'"
        )
        return str(merged)

    @task
    def publish(merged: str) -> None:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        with PostgresHook("orchestration_default").get_conn() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS bare (code text PRIMARY KEY, name text, size float)")
            cursor.execute("CREATE TEMP TABLE arrived (LIKE bare)")
            with cursor.copy("COPY arrived FROM STDIN (FORMAT csv, HEADER)") as copy:
                copy.write(Path(merged).read_bytes())
            cursor.execute("INSERT INTO bare SELECT * FROM arrived ON CONFLICT (code) DO NOTHING")

    publish(join(branch.expand(feed=plan())))


bare_airflow()
