"""What a watcher sees: rates of now, an ETA that means something, and a sentence for every standstill."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.llm.flight import Line
from pipeline.llm.gate import Gate
from pipeline.llm.standstill import Noticeboard, standstill
from pipeline.pace import ETA_WINDOW, WINDOW, Pace
from pipeline.report import live, resumption
from pipeline.report.funnel import Step
from pipeline.report.terminal import Lines, picture
from tests.scripted import spec_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(done: int, total: int | None = 100, name: str = "answer", state: str = "running") -> dict[str, Any]:
    return {"name": name, "state": state, "done": done, "total": total}


def usage(new: int = 0, tokens: int = 0, in_flight: int = 4, **more: Any) -> dict[str, Any]:
    return {"new": new, "new_completion_tokens": tokens, "in_flight": in_flight, "calls": new, **more}


def test_rates_are_of_the_window_and_not_since_the_start() -> None:
    """Fast for an hour, then a tenth as fast: after one window only the present is told."""
    pace = Pace(clock := Clock())
    told, new = {}, 0
    for second in range(3600 + int(WINDOW) + 2):
        new += 100 if second < 3600 else 10
        told = pace.note([entry(0)], usage(new, new * 50))
        clock.now += 1
    assert told["requests_per_second"] == pytest.approx(10, rel=0.01)
    assert told["tokens_per_second"] == pytest.approx(500, rel=0.01)


def test_a_pause_between_two_entries_is_no_slowness() -> None:
    pace = Pace(clock := Clock())
    pace.note([entry(0)], usage(0))
    for _ in range(20):
        clock.now += 1
        pace.note([entry(0)], usage(50, in_flight=0))
    for second in range(1, 6):
        clock.now += 1
        told = pace.note([entry(0)], usage(50 + 10 * second))
    assert told["requests_per_second"] == pytest.approx(10)


@given(per_second=st.integers(1, 50), total=st.integers(2000, 100_000))
def test_the_eta_is_what_is_left_at_the_present_pace(per_second: int, total: int) -> None:
    pace = Pace(clock := Clock())
    told = {}
    for second in range(30):
        told = pace.note([entry(second * per_second, total)], usage(second * per_second))
        assert told["eta_seconds"] is None or second >= 10
        clock.now += 1
    assert told["eta_seconds"] == pytest.approx((total - 29 * per_second) / per_second, rel=0.01)


def test_no_eta_while_it_would_mean_nothing() -> None:
    """Not without a total, before three rows, during a replay or a pause, nor from what another entry did."""
    pace = Pace(clock := Clock())
    counts = {"new": 0, "reused": 0}

    def minute(name: str, rows: int, total: int | None = 6000, *, new: int = 60, reused: int = 0, **more: Any) -> Any:
        eta = None
        for second in range(61):
            counts["new"] += new // 60
            counts["reused"] += reused // 60
            row = entry(rows * second // 60, total, name)
            eta = pace.note([row], usage(**counts), **more)["eta_seconds"]
            clock.now += 1
        return eta

    assert minute("a", 600, None) is None
    assert minute("b", 2) is None
    assert minute("c", 600, reused=60_000) is None
    assert minute("d", 600, paused=True) is None
    assert minute("e", 600, reused=60) == pytest.approx(540)
    assert minute("f", 60) == pytest.approx(5940)


def test_the_pace_keeps_no_more_than_its_windows() -> None:
    pace = Pace(clock := Clock())
    for second in range(5000):
        pace.note([entry(second, 10_000)], usage(second))
        clock.now += 1
    assert len(pace._calls) <= WINDOW + 2
    assert len(pace._rows) <= ETA_WINDOW + 2


def test_silence_is_counted_from_the_last_reply_and_only_with_calls_in_flight() -> None:
    pace = Pace(clock := Clock())
    pace.note([entry(0)], usage(5))
    clock.now += 1
    pace.note([entry(0)], usage(6))
    clock.now += 42
    told = pace.note([entry(0)], usage(6))
    assert told["quiet_seconds"] == 42
    assert live.waiting({"pace": told}) == "no reply for 42 s; still waiting"
    assert pace.note([entry(0)], usage(6, in_flight=0))["quiet_seconds"] == 0


def test_an_endpoint_that_is_down_is_told_before_all_else() -> None:
    down = {"usage": {"outages": ["a is down since 12 s", "b is down since 3 s"]}, "waiting_for": {"why": "x"}}
    assert live.waiting(down) == "a is down since 12 s; b is down since 3 s"


def test_what_a_run_found_is_told_whole_and_by_entry() -> None:
    def step(name: str, **used: int) -> Step:
        return Step(name, 1, 0, 1, 0, {}, {}, {}, {}, {"calls": 1, "new": 0, "reused": 0} | used, 1.0)

    fresh = [step("a", new=5), step("b", new=7)]
    assert resumption.at_end(fresh) == []
    found = [step("a", reused=91, in_flight_found_at_open=2, new=3), step("b", new=141), step("c", calls=0)]
    assert resumption.at_end(found) == [
        "91 replies reused, 2 were in flight when the last process died "
        "(maybe paid; 'seedmill ledger ls --lost' lists them), 144 new",
        "  a: 91 replies reused, 2 were in flight when the last process died, 3 new",
        "  b: 0 replies reused, 141 new",
    ]
    assert [item["entry"] for item in resumption.facts(found)] == ["a", "b"]


def gated(**changes: Any) -> Line:
    line = Line(spec_of(), Gate(concurrency=4))
    for name, value in changes.items():
        setattr(line, name, value)
    return line


class Timer:
    def __init__(self, when: float) -> None:
        self._when = when

    def when(self) -> float:
        return self._when


def test_a_standstill_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("pipeline.llm.standstill.time.monotonic", clock)
    asked = gated(trouble="HTTP 429", waiting=[object()])
    asked.gate.paused_until = clock.now + 32
    found = standstill([gated(), asked], on_the_wire=True)
    assert found is not None
    assert live.waiting({"waiting_for": found.as_dict()}) == "waiting 32 s: the server asked for it (HTTP 429)"
    resting = gated(trouble="HTTP 503", resting={object(): Timer(clock.now + 7), object(): Timer(clock.now + 70)})
    assert standstill([resting], on_the_wire=True) is None
    found = standstill([resting], on_the_wire=False)
    assert found is not None
    assert live.waiting({"waiting_for": found.as_dict()}) == "waiting 7 s: to try again (HTTP 503)"
    idle = gated()
    idle.gate.paused_until = clock.now + 32
    assert standstill([idle], on_the_wire=False) is None, "nobody waits"


def test_the_noticeboard_tells_what_was_put_up_first() -> None:
    board = Noticeboard()
    assert board.read() is None
    board.put("batch", "a batch of 500 calls is worked on")
    board.put("model", "the embedded model is loaded", 5.0)
    found = board.read()
    assert found is not None
    assert live.waiting({"waiting_for": found.as_dict()}) == "waiting: a batch of 500 calls is worked on"
    board.remove("batch")
    found = board.read()
    assert found is not None
    assert found.seconds is not None
    assert 0 < found.seconds <= 5
    board.remove("model")
    assert board.read() is None


SNAPSHOT: dict[str, Any] = {
    "state": "running",
    "entries": [
        {"name": "read", "state": "done", "in": 0, "derived": 175, "kept": 175, "dropped": 0},
        {"name": "self-instruct", "state": "skipped", "in": 175, "derived": 52_000, "kept": 52_000, "dropped": 175},
        entry(1_234, 52_000, name="evol-instruct"),
        entry(0, None, name="score", state="waiting"),
    ],
    "usage": usage(
        1_234_567, calls=2_000_000, reused=765_433, in_flight=1_024, retries=12_345, retries_429=4_321, unavailable=2
    )
    | {"cost": 1234.5},
    "pace": {"requests_per_second": 123.4, "tokens_per_second": 23_456.7, "eta_seconds": 7_500, "quiet_seconds": 0},
    "waiting_for": {"why": "the server asked for it (HTTP 429)", "seconds": 32},
}


@pytest.mark.parametrize("width", [72, 80, 120])
def test_the_picture_fits_and_cuts_nothing(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(picture(SNAPSHOT, width))
    text = capture.get()
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for part in ("1,234 of 52,000, ETA 2 h 05 min", "1,234,567 new", "765,433 reused", "1,024 in flight", "123 req/s"):
        assert part in text, part
    for part in ("23,457 tok/s", "4,321 x 429", "12,345 retries", "2 given up", "$1,234.50"):
        assert part in text, part
    assert "waiting 32 s: the server asked for it (HTTP 429)" in text
    assert "(unchanged)" in text


def test_an_unknown_price_is_never_a_number() -> None:
    assert live.money(usage() | {"cost": None}) == "cost unknown"
    assert live.money(usage() | {"cost": 0.0}) == "$0.00"
    paid = {"spent": 1.5, "unresolved": 0.25, "budget": None}
    assert live.money(usage() | {"cost": None, "money": paid}) == "$1.50 + unknown + $0.25 unresolved"
    assert live.money(usage() | {"cost": 0.5, "money": paid | {"budget": 20.0}}) == "$1.50 of $20.00 + $0.25 unresolved"


def test_lines_tell_a_wait_at_once_and_otherwise_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("pipeline.report.terminal.time.monotonic", clock)
    lines = Lines()
    calm = SNAPSHOT | {"waiting_for": None}
    for second in range(3600):
        lines(SNAPSHOT if 100 <= second < 103 else calm)
        clock.now += 1
        if second in (9, 101):
            said = capsys.readouterr().err.splitlines()
            assert "evol-instruct: begins" in said if second == 9 else "waiting 32 s" in said[-1]
    said = capsys.readouterr().err.splitlines()
    assert 3600 / 60 - 10 < len(said) < 3600 / 60 + 60, "about a line a minute in a long run, more in its beginning"
    assert all(line.startswith("evol-instruct: 1,234 of 52,000, ETA 2 h 05 min; 1,234,567 new") for line in said)
