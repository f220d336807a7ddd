"""Checks the rows of `benchmarks.places` with another library, keeps the good ones as Parquet, and says what it took.

Runs in an environment of its own: `python validators.py LIBRARY SOURCE TARGET`. The rules are those of
`places.CONTRACT`; the types stand in the file. Each library works as its documentation says.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import date

CITIES = ["Berlin", "São Paulo", "Zürich", "New York", "Tokyo", "Lagos"]
CODE = "^[A-J][0-9]{7}$"
FOUNDED = date(1950, 1, 1)
LONGEST, LOWEST = 80, -500
Found = tuple[float, int]
"""CPU seconds when the rows were judged, and how many are bad."""


def pandera(source: str, target: str) -> Found:
    """Polars frames; the failure cases name the rows that are left out."""
    import pandera.polars as pa
    import polars as pl

    check = pa.Check
    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(pl.Int64, unique=True),
            "code": pa.Column(pl.String, check.str_matches(CODE)),
            "name": pa.Column(pl.String, check.str_length(max_value=LONGEST), nullable=True),
            "city": pa.Column(pl.String, check.isin(CITIES), nullable=True),
            "lat": pa.Column(pl.Float64, check.in_range(-90, 90), nullable=True),
            "lon": pa.Column(pl.Float64, check.in_range(-180, 180), nullable=True),
            "elevation": pa.Column(pl.Int64, check.ge(LOWEST), nullable=True),
            "active": pa.Column(pl.Boolean, nullable=True),
            "opened": pa.Column(pl.Date, check.ge(FOUNDED), nullable=True),
            "updated": pa.Column(pl.Datetime("us"), nullable=True),
        }
    )
    frame, bad = pl.read_parquet(source), []
    start()
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        bad = errors.failure_cases["index"].drop_nulls().unique().to_list()
    judged = time.process_time()
    kept = frame.with_row_index("row").filter(~pl.col("row").is_in(bad)).drop("row")
    kept.write_parquet(target, compression="zstd", compression_level=1)
    return judged, len(bad)


def pointblank(source: str, target: str) -> Found:
    """Polars frames; the passing rows are sundered from the others."""
    import pointblank as pb
    import polars as pl

    frame = pl.read_parquet(source)
    start()
    found = (
        pb.Validate(frame)
        .rows_distinct(columns_subset="id")
        .col_vals_not_null(columns=["id", "code"])
        .col_vals_regex(columns="code", pattern=CODE, na_pass=True)
        .col_vals_expr(expr=pl.col("name").is_null() | (pl.col("name").str.len_chars() <= LONGEST))
        .col_vals_in_set(columns="city", set=[*CITIES, None])
        .col_vals_between(columns="lat", left=-90, right=90, na_pass=True)
        .col_vals_between(columns="lon", left=-180, right=180, na_pass=True)
        .col_vals_ge(columns="elevation", value=LOWEST, na_pass=True)
        .col_vals_ge(columns="opened", value=FOUNDED, na_pass=True)
        .interrogate(collect_extracts=False)
    )
    judged = time.process_time()
    kept = found.get_sundered_data(type="pass")
    kept.write_parquet(target, compression="zstd", compression_level=1)
    return judged, frame.height - kept.height


def great_expectations(source: str, target: str) -> Found:
    """Pandas frames; the complete results name the rows that are left out."""
    import great_expectations as gx
    import pandas as pd

    expect = gx.expectations
    frame = pd.read_parquet(source)
    start()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("places")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    rules = [
        expect.ExpectColumnValuesToBeUnique(column="id"),
        expect.ExpectColumnValuesToNotBeNull(column="id"),
        expect.ExpectColumnValuesToNotBeNull(column="code"),
        expect.ExpectColumnValuesToMatchRegex(column="code", regex=CODE),
        expect.ExpectColumnValueLengthsToBeBetween(column="name", max_value=LONGEST),
        expect.ExpectColumnValuesToBeInSet(column="city", value_set=CITIES),
        expect.ExpectColumnValuesToBeBetween(column="lat", min_value=-90, max_value=90),
        expect.ExpectColumnValuesToBeBetween(column="lon", min_value=-180, max_value=180),
        expect.ExpectColumnValuesToBeBetween(column="elevation", min_value=LOWEST),
        expect.ExpectColumnValuesToBeBetween(column="opened", min_value=FOUNDED),
    ]
    suite = gx.ExpectationSuite(name="places", expectations=rules)
    results = batch.validate(suite, result_format={"result_format": "COMPLETE"}).results
    bad = {row for one in results for row in one.result.get("unexpected_index_list") or ()}
    judged = time.process_time()
    frame.drop(index=list(bad)).to_parquet(target, compression="zstd")
    return judged, len(bad)


LIBRARIES: dict[str, Callable[[str, str], Found]] = {
    "pandera": pandera,
    "pointblank": pointblank,
    "great_expectations": great_expectations,
}
_read = [0.0]


def start() -> None:
    """Say that the file has been read."""
    _read[0] = time.process_time()


def main() -> None:
    """Print what it took as JSON; imports count in no figure but the memory."""
    library, source, target = sys.argv[1:]
    LIBRARIES[library](*_small(source, target))
    cpu, wall = time.process_time(), time.perf_counter()
    judged, bad = LIBRARIES[library](source, target)
    found = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "judging": judged - _read[0],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "bad": bad,
    }
    print(json.dumps(found))


def _small(source: str, target: str) -> tuple[str, str]:
    """Return a file of a few of the rows: a first run loads what a library loads late."""
    import polars as pl

    few = target + ".few.parquet"
    pl.scan_parquet(source).head(1000).collect().write_parquet(few)
    return few, target


if __name__ == "__main__":
    main()
