"""The budget is a hard cap: never exceeded, used to its end, and the ledger brackets the provider's own bill."""

import shutil
from pathlib import Path

import pytest

from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import ledger_facts
from tests.spending import Schedule, die, ledger_account, play, schedule


def held(plan: Schedule, folder: Path) -> None:
    """Play a schedule to its end and hold everything against everything."""
    with FakeProvider(plan.script(), own_process=bool(plan.kills)) as provider:
        for after in plan.kills:
            die(plan.seed, provider.url, folder, after)
        end = play(plan, provider.url, folder)
        bill = provider.bill()["usd"]
    near = 1e-9 * max(1e-9, plan.budget)
    found = ledger_account(folder)
    assert bill <= plan.budget + near, "the budget is exceeded"
    assert end.never >= -near, "more was spent and reserved than the budget allows"
    assert found.finished - near <= bill <= found.finished + found.unresolved + near, (
        "the ledger does not bracket the bill"
    )
    assert end.money["reserved"] == 0
    assert found.finished == pytest.approx(end.money["spent"], rel=1e-9)
    assert found.unresolved == pytest.approx(end.money["unresolved"], rel=1e-9)
    if not plan.lossy and not plan.kills:
        assert found.unresolved == 0
        assert bill == pytest.approx(found.finished, rel=1e-9)
    if end.stopped is None:
        assert end.answered == plan.requests
    else:
        left = plan.budget - found.finished - found.unresolved
        assert left <= 0.05 * plan.budget or left < plan.largest(provider.url), "it stopped although there was money"
        assert "the budget of $" in end.stopped
        assert ledger_facts(folder)["intents"] == 0


@pytest.mark.parametrize("seed", range(50))
def test_random_schedules(seed: int, tmp_path: Path) -> None:
    held(schedule(seed), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_more_random_schedules(seed: int, tmp_path: Path) -> None:
    held(schedule(seed), tmp_path)


def test_more_money_goes_on_where_the_budget_ended(tmp_path: Path) -> None:
    plan = next(p for p in map(schedule, range(1000)) if not p.kills and not p.lossy and p.budget < 1)
    rich = Schedule(**{**plan.__dict__, "budget": plan.budget * 1000})
    with FakeProvider(plan.script()) as provider:
        poor_end = play(plan, provider.url, tmp_path)
        rich_end = play(rich, provider.url, tmp_path)
        bill = provider.bill()
    assert poor_end.answered <= rich_end.answered == plan.requests
    assert bill["usd"] == pytest.approx(ledger_account(tmp_path).finished, rel=1e-9)
    assert bill["charged"] == plan.requests, "nothing is paid twice"
    shutil.rmtree(tmp_path)
