"""What does it gain to learn who succeeds, against the constant of the document that believes in everybody for ever?

Templates have a true chance of success, which may change from a day on or fail for a day. Runs choose for each of
their batches by the policy, and learn from what came of the runs before. Whoever is compared gets the same draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_orchestration.domain.agent import Capability, ResourceRequirements, WorkDay
from airflow_orchestration.policies.agent_selection import AgentCandidate, AgentSelection
from airflow_orchestration.policies.agent_success import PRIOR_SUCCESS_RATE, AgentSuccess

DAYS = 60
RUNS_PER_DAY, BATCHES_PER_RUN = 4, 5
TEMPLATES = 8
WORST_RATE = 0.6
"""The lowest chance of success of a drawn template on a normal day."""
CHANGES, FAILS_FOR_A_DAY = 0.3, 0.3
"""How likely a drawn template is to change its chance for good on some day, and to have a day without success."""
GENERALIST = 0.25
"""How likely a drawn template is to know more than what the work needs."""
BAD_DAY = 10
BACKLOG = 500
"""Batches of the one run on a bad day."""
LAST_DAYS = 14
"""The days at the end by which it is told who is still chosen."""
WORK = frozenset({Capability.DATA_VALIDATION})
MORE = frozenset({Capability.DATA_VALIDATION, Capability.DATA_TRANSFORMATION})
SIZES = (250, 500, 1000, 2000)
"""CPU and memory, in millicores and MB, of what a template is made for and a batch takes."""

Dice = Callable[[], float]
"""Gives numbers from 0 up to, not including, 1, each as likely as the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTemplate:
    """A template whose true chance of success is known."""

    name: str
    success_rate: float
    footprint: ResourceRequirements
    capabilities: frozenset[Capability] = WORK
    later: tuple[int, float] | None = None
    """A day, and the chance of success from it on."""
    bad_day: int | None = None
    """A day on which nothing succeeds."""

    def rate_on(self, day: int) -> float:
        """Return the true chance of success on a day, counted from 0."""
        if day == self.bad_day:
            return 0.0
        return self.later[1] if self.later is not None and day >= self.later[0] else self.success_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one batch takes, and its luck: it succeeds with whose chance is above it."""

    needed: ResourceRequirements
    luck: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Templates, and the batches of each run of each day."""

    templates: tuple[SimulatedTemplate, ...]
    days: tuple[tuple[tuple[Batch, ...], ...], ...]


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a setting."""

    successes: int = 0
    batches: int = 0
    chosen: list[Counter[str]] = field(default_factory=list)
    """How many batches each template got, day by day."""

    def count(self, name: str, *, succeeded: bool) -> None:
        """Take one batch of the newest day in."""
        self.chosen[-1][name] += 1
        self.batches += 1
        self.successes += succeeded

    def again_after(self, name: str, day: int) -> int | None:
        """Return how many days after a day a template was chosen again, or None if it never was."""
        later = (number for number in range(day + 1, len(self.chosen)) if self.chosen[number][name])
        found = next(later, None)
        return None if found is None else found - day

    def last_share(self, name: str) -> float:
        """Return the share of batches that a template got in the last days."""
        last: Counter[str] = sum(self.chosen[-LAST_DAYS:], Counter())
        return last[name] / last.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was learned against the constant, over some drawn settings, and in the two that have a name."""

    settings: int
    batches: int
    learned: int
    """Successes of those who learn."""
    constant: int
    """Successes of those who believe in everybody."""
    best: float
    """Successes to expect of who knew the true chances, with no regard to size."""
    gains: tuple[int, ...]
    """Successes gained in each setting."""
    one_bad_day: int | None
    """Days until a known template is chosen again after a day without success; None is never."""
    first_day_bad: int | None
    """The same for one that nobody knew before that day."""
    bad_for_good: float
    """The share of batches that a template which turned bad still gets in the last days."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "settings": self.settings,
            "days": DAYS,
            "batches": self.batches,
            "successes": {"learned": self.learned, "constant": self.constant, "best": round(self.best)},
            "success_rate": {
                "learned": self.learned / self.batches,
                "constant": self.constant / self.batches,
                "best": self.best / self.batches,
            },
            "gained": {
                "mean": sum(self.gains) / self.settings,
                "least": min(self.gains),
                "most": max(self.gains),
                "settings_with_a_loss": sum(gain < 0 for gain in self.gains),
            },
            "one_bad_day": {"chosen_again_after_days": self.one_bad_day},
            "first_day_bad": {"chosen_again_after_days": self.first_day_bad},
            "bad_for_good": {"share_of_the_last_days": self.bad_for_good, "last_days": LAST_DAYS},
        }


def compare(dice: Dice, settings: int) -> Comparison:
    """Draw settings, play each with learning and without, and play the two that have a name."""
    learning = AgentSuccess()
    drawn = [drawn_setting(dice) for _ in range(settings)]
    learned = [play(setting, learning) for setting in drawn]
    constant = [play(setting, None) for setting in drawn]
    known, unknown = (one_bad_day(dice, day) for day in (BAD_DAY, 0))
    return Comparison(
        settings=settings,
        batches=sum(played.batches for played in learned),
        learned=sum(played.successes for played in learned),
        constant=sum(played.successes for played in constant),
        best=sum(map(_best, drawn)),
        gains=tuple(mine.successes - other.successes for mine, other in zip(learned, constant, strict=True)),
        one_bad_day=play(known, learning).again_after("unlucky", BAD_DAY),
        first_day_bad=play(unknown, learning).again_after("unlucky", 0),
        bad_for_good=play(bad_for_good(dice), learning).last_share("broken"),
    )


def play(setting: Setting, policy: AgentSuccess | None) -> Played:
    """Let the runs of a setting choose, work and learn; without a policy everybody is believed to succeed."""
    by_name = {template.name: template for template in setting.templates}
    played = Played()
    done: dict[str, dict[int, WorkDay]] = {name: {} for name in by_name}
    for day, runs in enumerate(setting.days):
        played.chosen.append(Counter())
        for run in runs:
            choose = AgentSelection().prepare(_candidates(setting, done, day, policy)).choose
            for batch in run:
                name = choose(WORK, batch.needed)
                if name is None:
                    raise ValueError("no template of this setting can do the work; give one the capability")
                succeeded = batch.luck < by_name[name].rate_on(day)
                done[name][day] = _with_one_more(done[name].get(day), name, succeeded=succeeded)
                played.count(name, succeeded=succeeded)
    return played


def drawn_setting(dice: Dice) -> Setting:
    """Draw templates, some of which change or fail for a day, and the batches of all days."""
    templates = tuple(_drawn_template(f"template_{number}", dice) for number in range(TEMPLATES))
    return Setting(templates=templates, days=_drawn_days(dice))


def one_bad_day(dice: Dice, day: int) -> Setting:
    """Return a setting in which a good template fails all day, and just then a run has a backlog of hundreds."""
    unlucky = SimulatedTemplate(name="unlucky", success_rate=0.98, footprint=_size(500, 500), bad_day=day)
    other = SimulatedTemplate(name="other", success_rate=0.95, footprint=_size(1000, 1000))
    days = _drawn_days(dice)
    backlog = tuple(_drawn_batch(dice) for _ in range(BACKLOG))
    return Setting(templates=(unlucky, other), days=(*days[:day], (backlog,), *days[day + 1 :]))


def bad_for_good(dice: Dice) -> Setting:
    """Return a setting in which the first choice of most succeeds no more from a day on."""
    broken = SimulatedTemplate(
        name="broken", success_rate=0.98, footprint=_size(500, 500), later=(BAD_DAY, 0.1)
    )
    other = SimulatedTemplate(name="other", success_rate=0.95, footprint=_size(1000, 1000))
    return Setting(templates=(broken, other), days=_drawn_days(dice))


def _drawn_template(name: str, dice: Dice) -> SimulatedTemplate:
    return SimulatedTemplate(
        name=name,
        success_rate=_drawn_rate(dice),
        footprint=_drawn_size(dice),
        capabilities=MORE if dice() < GENERALIST else WORK,
        later=(int(dice() * DAYS), _drawn_rate(dice)) if dice() < CHANGES else None,
        bad_day=int(dice() * DAYS) if dice() < FAILS_FOR_A_DAY else None,
    )


def _drawn_rate(dice: Dice) -> float:
    return WORST_RATE + (1 - WORST_RATE) * dice()


def _drawn_days(dice: Dice) -> tuple[tuple[tuple[Batch, ...], ...], ...]:
    return tuple(
        tuple(tuple(_drawn_batch(dice) for _ in range(BATCHES_PER_RUN)) for _ in range(RUNS_PER_DAY))
        for _ in range(DAYS)
    )


def _drawn_batch(dice: Dice) -> Batch:
    return Batch(needed=_drawn_size(dice), luck=dice())


def _drawn_size(dice: Dice) -> ResourceRequirements:
    return _size(SIZES[int(dice() * len(SIZES))], SIZES[int(dice() * len(SIZES))])


def _size(cpu_millicores: int, memory_mb: int) -> ResourceRequirements:
    return ResourceRequirements(cpu_millicores=cpu_millicores, memory_mb=memory_mb)


def _candidates(
    setting: Setting, done: Mapping[str, Mapping[int, WorkDay]], today: int, policy: AgentSuccess | None
) -> list[AgentCandidate]:
    return [
        AgentCandidate(
            name=it.name,
            capabilities=it.capabilities,
            success_rate=_believed(done[it.name], today, policy),
            outcomes=sum(day.successes + day.failures for day in done[it.name].values()),
            footprint=it.footprint,
        )
        for it in setting.templates
    ]


def _believed(done: Mapping[int, WorkDay], today: int, policy: AgentSuccess | None) -> float:
    if policy is None:
        return PRIOR_SUCCESS_RATE
    return policy.success_rate(replace(work, days_ago=today - day) for day, work in done.items())


def _with_one_more(known: WorkDay | None, name: str, *, succeeded: bool) -> WorkDay:
    day = known or WorkDay(agent_type=name, kind="", days_ago=0, successes=0, failures=0)
    return replace(day, successes=day.successes + succeeded, failures=day.failures + (not succeeded))


def _best(setting: Setting) -> float:
    """The successes to expect when each batch goes to whoever is best on its day."""
    return sum(
        max(template.rate_on(day) for template in setting.templates) * sum(map(len, runs))
        for day, runs in enumerate(setting.days)
    )
