"""Schedules of calls under a budget, played on the fake provider and held against its bill."""

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IncompleteError
from pipeline.llm.accounts import Account, account
from pipeline.llm.body import compose
from pipeline.llm.caller import Caller
from pipeline.llm.flight import Pauses
from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import worst_case
from pipeline.llm.request import Reply, Request
from pipeline.record import Message
from tests.runs import ROOT

RUN = "budgeted"

LOSING = ("reset", "truncated_json", "empty_choices", "hang")
"""Faults whose reply is lost though the fake charges it."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One random world: what things cost, what goes wrong, how much is asked at once, and how much money there is.

    Attributes:
        price: what the provider charges and we know it charges.
        budget: US dollars.
        lossy: whether replies may be lost on the way.
        kills: how many processes die before the last one, each after about so many replies.
    """

    seed: int
    price: Mapping[str, float]
    cached_share: float
    faults: tuple[Mapping[str, Any], ...]
    concurrency: int
    requests: int
    budget: float
    lossy: bool
    kills: tuple[int, ...] = ()

    def script(self) -> dict[str, Any]:
        """The fake provider's."""
        return {
            "seed": self.seed,
            "latency": {"kind": "uniform", "seconds": 0.004, "spread": 1.0},
            "price": {"default": dict(self.price)},
            "cached_share": self.cached_share,
            "faults": [dict(fault) for fault in self.faults],
            "rules": [{"reply": {"kind": "answer"}}],
        }

    def spec(self, url: str) -> ModelSpec:
        """The model that is asked."""
        return ModelSpec(
            role="default",
            model="fake",
            base_url=url,
            price=self.price,
            concurrency=self.concurrency,
            timeout=0.3 if any(fault["kind"] == "hang" for fault in self.faults) else 30.0,
            deadline=30.0,
            max_tokens=64,
        )

    def request(self, number: int) -> Request:
        """One of the requests; prompts and limits of many lengths, sometimes several samples."""
        dice = random.Random(f"{self.seed} {number}")
        words = " ".join(dice.choice(("river", "garden", "été", "天气", "market")) for _ in range(dice.randint(1, 60)))
        params: dict[str, Any] = {"max_tokens": dice.choice((1, 8, 64, 256))} if dice.random() < 0.9 else {}
        params |= {"n": dice.randint(2, 3)} if dice.random() < 0.1 else {}
        return Request(messages=(Message(role="user", content=f"{number}: {words}"),), params=params)

    def largest(self, url: str) -> float:
        """US dollars of the largest reservation."""
        spec = self.spec(url)
        worst = [worst_case(compose(spec, self.request(n), "e"), self.price) for n in range(self.requests)]
        return max(amount or 0.0 for amount in worst)


def schedule(seed: int) -> Schedule:
    """A random schedule; about a third never lose a reply, a fifth are killed on the way."""
    dice = random.Random(seed)
    price = {"input": dice.choice((0.05, 0.15, 3.0)), "output": dice.choice((0.2, 0.6, 15.0))}
    cached = 0.0
    if dice.random() < 0.5:
        price["cached_input"] = price["input"] * dice.choice((0.1, 0.5))
        cached = dice.choice((0.0, 0.4))
    lossy = dice.random() < 0.67
    faults: list[dict[str, Any]] = [{"kind": "status", "status": 500, "share": dice.choice((0.0, 0.1)), "attempts": 3}]
    faults.append(
        {"kind": "status", "status": 429, "share": dice.choice((0.0, 0.1)), "retry_after": 0.01, "attempts": 3}
    )
    if lossy:
        kinds = dice.sample(LOSING, 2)
        for kind in kinds:
            share, more = (0.03, {"seconds": 5.0}) if kind == "hang" else (dice.choice((0.05, 0.2)), {})
            faults.append({"kind": kind, "share": share, "attempts": 3, **more})
    faults = [fault for fault in faults if fault["share"]]
    requests = dice.randint(40, 120)
    kills = tuple(dice.randint(3, 15) for _ in range(dice.choice((0, 0, 0, 0, 2))))
    plain = Schedule(
        seed=seed, price=price, cached_share=cached, faults=tuple(faults), requests=requests, kills=kills,
        concurrency=dice.choice((1, 4, 16, 64)), budget=0.0, lossy=lossy,
    )  # fmt: skip
    whole = sum(
        worst_case(compose(plain.spec("http://x/v1"), plain.request(n), "e"), price) or 0.0 for n in range(requests)
    )
    budget = whole * dice.choice((0.02, 0.1, 0.3, 1.5))
    return Schedule(**{**asdict(plain), "faults": tuple(faults), "kills": kills, "budget": budget})


@dataclass(frozen=True, kw_only=True)
class End:
    """How one process ended.

    Attributes:
        answered: replies it saw.
        stopped: what it said at the end of the budget, or None.
        never: the least sum that finished + unresolved + reserved fell short of the budget, as seen at each reply.
        money: the purse's last state.
    """

    answered: int
    stopped: str | None
    never: float
    money: Mapping[str, Any]


def play(schedule: Schedule, url: str, folder: Path, *, die_after: int | None = None) -> End:
    """Ask all that the schedule asks, under its budget."""
    spec = schedule.spec(url)
    least = [float("inf")]
    pauses = Pauses(nobody=5.0, first=0.005, longest=0.02)
    with Caller({"default": spec}, folder, RUN, pauses=pauses) as caller:
        caller.spend_at_most(schedule.budget)

        def look(future: Future[Reply]) -> None:
            now = caller.money()
            charged = (now["spent"] or 0.0) + (now["unresolved"] or 0.0) + (now["reserved"] or 0.0)
            least[0] = min(least[0], (now["budget"] or 0.0) - charged)
            seen.append(1)
            if die_after is not None and len(seen) >= die_after:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGKILL)

        seen: list[int] = []
        futures = [caller.submit(schedule.request(n), "e") for n in range(schedule.requests)]
        for future in futures:
            future.add_done_callback(look)
        errors = [error for future in futures if (error := future.exception(60)) is not None]
        unexpected = [error for error in errors if not isinstance(error, IncompleteError)]
        assert not unexpected, unexpected[0]
        return End(
            answered=len(futures) - len(errors),
            stopped=errors[0].message if errors else None,  # type: ignore[attr-defined]
            never=least[0],
            money=caller.money(),
        )


def die(seed: int, url: str, folder: Path, after: int) -> None:
    """Play a schedule in a process that is killed after so many replies."""
    command = [sys.executable, "-c", "from tests.spending import main; main()"]
    given = json.dumps([seed, url, str(folder), after])
    subprocess.run([*command, given], cwd=ROOT, check=False, timeout=60)


def main() -> None:
    """The process that dies."""
    seed, url, folder, after = json.loads(sys.argv[1])
    play(schedule(seed), url, Path(folder), die_after=after)


def ledger_account(folder: Path) -> Account:
    """What the ledger says of the run."""
    return account(folder, RUN)
