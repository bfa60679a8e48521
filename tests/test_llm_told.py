"""What headers tell of limits."""

import time

import pytest

from pipeline.llm.servers import known_servers, server_of
from pipeline.llm.told import Told, read_told, seconds_of

NAMES = server_of("https://somewhere.test/v1").limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("20ms", 0.02), ("1s", 1.0), ("7.66s", 7.66), ("1h2m3s", 3723.0), ("1d", 86400.0), ("59", 59.0),
     ("0", 0.0), ("250µs", 0.00025), ("", None), ("soon", None), ("-1", None), ("5 apples", None), (None, None)],
)  # fmt: skip
def test_spans_of_time(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


def test_points_in_time() -> None:
    for unit in (1, 1000):
        found = seconds_of(str(int((time.time() + 30) * unit)))
        assert found is not None
        assert 28 < found <= 30


def test_openai_names_hold_for_everybody() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6ms",
    }
    requests, tokens = read_told(headers, NAMES)
    assert requests == Told(what="requests", limit=60, remaining=59, reset=1.0)
    assert tokens == Told(what="tokens", limit=150000, remaining=149984, reset=0.006)
    assert (requests.pause(), tokens.pause()) == (None, None), "both are buckets that fill evenly"
    assert all(server.limits == NAMES for server in known_servers())


def test_azure_counts_in_seconds_and_sends_minus_one_for_nothing() -> None:
    headers = {"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"}
    assert read_told(headers, NAMES) == ()
    headers = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "99"}
    assert read_told(headers, NAMES) == (Told(what="requests", limit=100, remaining=99),)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {"ratelimit-policy": '"burst";q=100;w=60,"daily";q=1000;w=86400', "ratelimit": '"daily";r=50;t=3600'},
            (1000, 86400, 50, 3600),
        ),
        ({"ratelimit-policy": '"default";q=100;w=10', "ratelimit": '"default";r=5;t=3'}, (100, 10, 5, 3)),
        ({"ratelimit-policy": "100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "30"}, (100, 60, 7, 30)),
    ],
)
def test_the_ietf_fields(headers: dict[str, str], expected: tuple[float, ...]) -> None:
    (told,) = read_told(headers, NAMES)
    assert (told.limit, told.window, told.remaining, told.reset) == expected


@pytest.mark.parametrize(
    "headers",
    [{}, {"ratelimit": "limit=, remaining"}, {"ratelimit-policy": '";;;"'}, {"x-ratelimit-limit-requests": "many"},
     {"ratelimit-policy": '"x";q=abc;w=def'}, {"x-ratelimit-limit-requests": "0"}],
)  # fmt: skip
def test_nonsense_tells_nothing(headers: dict[str, str]) -> None:
    assert read_told(headers, NAMES) == ()


def test_the_end_of_a_window_is_not_a_bucket() -> None:
    assert Told(what="requests", limit=500, remaining=100, reset=30.0).pause() == (100 / 30, 30.0)
    assert Told(what="requests", limit=500, remaining=400, reset=30.0).pause() is None
    assert Told(what="requests", limit=500, remaining=0, reset=60.0).pause() == (0.0, 0.12)
