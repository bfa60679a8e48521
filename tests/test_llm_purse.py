"""The purse: bounds that hold, sums that are exact, and refusals in one sentence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.llm.accounts import Account
from pipeline.llm.body import Call, compose
from pipeline.llm.fake import tokens
from pipeline.llm.prices import published, published_prices
from pipeline.llm.purse import Purse, bound_of, dollars, worst_case
from pipeline.llm.reading import Reading
from pipeline.llm.request import Request
from pipeline.llm.usage import cost_of
from pipeline.record import Message
from tests.scripted import spec_of

PRICE = {"input": 3.0, "cached_input": 0.3, "output": 15.0}


def call_of(text: str = "hello", **settings: Any) -> Call:
    messages = (Message(role="user", content=text),)
    return compose(spec_of(), Request(messages=messages, **{"params": {"max_tokens": 10}, **settings}), "e")


@given(st.text(), st.integers(1, 500), st.integers(1, 4))
def test_no_reply_costs_more_than_its_worst_case(text: str, limit: int, samples: int) -> None:
    call = call_of(text, params={"max_tokens": limit, "n": samples})
    prompt = tokens.count(text) + tokens.FRAME + tokens.PRIMING
    worst = Reading(text="", prompt_tokens=max(prompt, len(text.encode("utf-8", "replace"))),
                    completion_tokens=limit * samples)  # fmt: skip
    cost, most = cost_of(worst, PRICE), worst_case(call, PRICE)
    assert cost is not None
    assert most is not None
    assert cost <= most


def test_tools_schemas_and_several_samples_count() -> None:
    plain = bound_of(call_of())
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 100, "parameters": {}}}
    assert bound_of(call_of(tools=(tool,))).input >= plain.input + 2 * len(json.dumps(tool)) - 20
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    assert bound_of(call_of(response_format=schema)).input >= plain.input + 2 * 60
    assert bound_of(call_of(params={"max_completion_tokens": 7, "n": 3})).output == 21
    assert bound_of(call_of(params={})).output is None
    document = json.loads(call_of().document) | {"samples": 4}
    assert bound_of(Call("k", json.dumps(document), "default", "e")).output == 40


amounts = st.floats(0, 1e3, allow_nan=False)


@given(
    st.floats(0, 1e4), st.lists(st.tuples(amounts, st.floats(0, 1), st.sampled_from(["pay", "lose", "free", "hold"])))
)
def test_the_budget_is_never_exceeded_and_sums_are_exact(budget: float, steps: list[tuple[float, float, str]]) -> None:
    purse = Purse()
    purse.open(budget, Account())
    for amount, share, end in steps:
        if purse.take(amount):
            if end == "pay":
                purse.pay(amount, amount * share)
            elif end == "lose":
                purse.lose(amount)
            elif end == "free":
                before = purse.left
                purse.give_back(amount)
                assert purse.left >= before
        else:
            assert amount > purse.left - 1e-12 * budget
        assert (
            0 <= sum(purse.state()[name] or 0.0 for name in ("spent", "unresolved", "reserved")) <= budget * (1 + 1e-12)
        )


def test_a_run_goes_on_where_its_ledger_ends() -> None:
    purse = Purse()
    purse.open(5.0, Account(run="r", finished=4.0, unresolved=0.5))
    assert not purse.take(0.51)
    assert purse.take(0.5)
    purse.lose(0.5)
    said = str(purse.used_up(0.51))
    assert "the budget of $5.00 is used up: $4.00 spent, $1.00 unresolved" in said
    assert "the next call may cost $0.51" in said
    assert "run the same command again" in said


def test_what_nobody_can_bound_is_refused_under_a_budget_only() -> None:
    purse = Purse()
    priced, short = spec_of(price=PRICE), spec_of(price=PRICE | {"up_to": 100})
    unlimited = call_of(params={})
    assert purse.quote(unlimited, priced) is None
    assert purse.quote(call_of(), spec_of()) is None
    purse.open(1.0, Account())
    assert purse.quote(call_of(), priced) == worst_case(call_of(), PRICE)
    for call, spec, said in (
        (call_of(), spec_of(), r"the price of 'm' at http://model.test/v1 \(role default\) is not known"),
        (unlimited, priced, "sets no max_tokens"),
        (call_of(), short, "longer than the 100 tokens"),
    ):
        with pytest.raises(UsageError, match=said) as error:
            purse.quote(call, spec)
        assert error.value.hint
    assert purse.quote(unlimited, spec_of(price={"input": 0.0, "output": 0.0})) == 0.0
    with pytest.raises(UsageError, match="3 calls whose cost nobody knows"):
        purse.open(1.0, Account(run="r", unbounded=3))


def test_costs() -> None:
    reading = Reading(text="", prompt_tokens=1000, cached_tokens=400, completion_tokens=100)
    assert cost_of(reading, PRICE) == pytest.approx((600 * 3.0 + 400 * 0.3 + 100 * 15.0) / 1e6)
    assert cost_of(reading, None) is None
    assert cost_of(reading, PRICE | {"up_to": 999}) is None
    assert cost_of(reading, PRICE | {"up_to": 1000}) is not None
    untold = Reading(text="x")
    assert cost_of(untold, PRICE) is None, "a reply that does not say what it used is not free"
    assert cost_of(untold, {"input": 0.0, "output": 0.0}) == 0.0
    assert cost_of(Reading(text="no", outcome="refused"), PRICE) == 0.0


@pytest.mark.parametrize(
    ("url", "model", "output"),
    [
        ("https://api.openai.com/v1", "gpt-4o-mini", 0.6),
        ("https://api.openai.com/v1", "gpt-4o-mini-2024-07-18", 0.6),
        ("https://API.openai.com:443/v1", "ft:gpt-4o-mini-2024-07-18:acme::abc", 1.2),
        ("https://api.openai.com/v1", "gpt-4o-2024-05-13", 15.0),
        ("https://api.openai.com/v1", "gpt-4o-mini-2031-01-01", None),
        ("https://api.openai.com/v1", "ft:o9:acme", None),
        ("https://api.openai.com/v1", "xgpt-4o-mini", None),
        ("https://eu.api.openai.com/v1", "gpt-4o-mini", None),
        ("https://api.deepseek.com/v1", "deepseek-flash", 1.2),
        ("https://relay.example/v1", "gpt-4o-mini", None),
        ("http://127.0.0.1:8000/v1", "gpt-4o-mini", None),
        ("http://localhost:11434/v1", "qwen3", None),
    ],
)
def test_prices_are_found_by_server_and_name_only(url: str, model: str, output: float | None) -> None:
    found = published(url, model)
    assert (None if found is None else found.price["output"]) == output


def test_every_price_says_where_it_comes_from() -> None:
    assert len(published_prices()) >= 20
    for item in published_prices():
        assert item.source.startswith("https://")
        assert item.as_of[:2] == "20"
        free = "moderation" in item.match and item.price["input"] == item.price["output"] == 0
        assert free or 0 < item.price["input"] < 1000
        assert (
            item.price.get("cached_input", 0) <= item.price["input"] <= max(item.price["output"], item.price["input"])
        )
        assert 0 < item.price.get("batch", 1.0) <= 1
    yuan = published("https://api.moonshot.cn/v1", "kimi-k3")
    assert yuan is not None
    assert yuan.price["input"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0.0, "$0.00"),
        (5.0, "$5.00"),
        (1234.5, "$1,234.50"),
        (0.1, "$0.10"),
        (0.0123456, "$0.0123"),
        (4e-7, "$0.000000400"),
    ],
)
def test_amounts_as_people_read_them(amount: float, said: str) -> None:
    assert dollars(amount) == said
