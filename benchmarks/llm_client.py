"""Model calls a second over HTTP: us with the ledger on, the official SDK, bare aiohttp, and two peers.

Run: python benchmarks/llm_client.py [--quick] [--peers]
One fake provider in a process of its own answers everybody (100 ms, 200 tokens); every run is a process of its own, the
clients take turns, and every reply is held against its question before a time counts. At 256 in flight 100 ms allow
2,560 calls a second, which is less than four times what the SDK makes of them on a good machine; so the two are also
measured there with 20 ms, where it is the client that limits. Processor time is that of the client's process with all
its threads, the ledger's included; the provider's is shown beside it, since two processors are shared.
bespokelabs-curator and distilabel run as well (256 in flight) once `--peers` has installed them into benchmarks/.work.

What is wanted (and was predicted from the SDK's cost in its connection pool and object building): four times the SDK
with its aiohttp backend at 256 in flight and above, or nearly all that 100 ms allow; 1,024 in flight no slower than
256; at most 0.8 ms of processor time a call; 20,000 replayed calls a second.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _questions import LATENCY, SCRIPT, TOKENS
from _verdicts import Verdicts

from pipeline.llm.fake.provider import FakeProvider

HERE = Path(__file__).parent
WORK = HERE / ".work"
IN_FLIGHT = (64, 256, 1024)
RUNS = 3
SHORT_LATENCY = 0.02
"""Seconds; so short that with 256 calls in flight it is the client that limits."""
SECONDS = 6.0
"""Of a run, about: so that the filling and the emptying of a thousand places weigh little."""
PATIENCE = 240.0


@dataclass
class Runner:
    """A client and how it is run; `pace` is about how many calls a second it makes, for runs of some seconds each."""

    title: str
    command: Sequence[str]
    pace: int
    optional: bool = False
    latency: float = LATENCY
    rounds: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self, provider: FakeProvider, in_flight: int, seconds: float) -> None:
        """One run; its report is added to the rounds of that many in flight."""
        count = max(2 * in_flight, round(seconds * min(self.pace, in_flight / self.latency)))
        provider.reset()
        before = spent_by(provider.pid)
        command = [*self.command, provider.url, str(in_flight), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, timeout=PATIENCE)
        if done.returncode and self.optional:
            print(f"{self.title}: skipped, does not run here: {last_line(done)}")
            return
        if done.returncode:
            sys.exit(f"{self.title}: no times are worth printing\n{done.stdout[-500:]}{done.stderr[-1500:]}")
        told = json.loads(done.stdout.strip().splitlines()[-1])
        told["peak"] = provider.bill()["peak_in_flight"]
        told["provider_ms"] = 1e3 * (spent_by(provider.pid) - before) / (count + in_flight)
        self.rounds.setdefault(in_flight, []).append(told)

    def median(self, in_flight: int, what: str = "rate") -> float:
        """The median over the rounds."""
        return statistics.median(told[what] for told in self.rounds[in_flight])


def ours(title: str, name: str, pace: int) -> Runner:
    return Runner(title, [sys.executable, str(HERE / "_client.py"), name], pace)


THIN = ours("seedmill, ledger on", "thin", 3000)
SDK = ours("seedmill, transport: sdk", "sdk", 700)
PLAIN = ours("AsyncOpenAI", "openai", 250)
BACKED = ours("AsyncOpenAI, aiohttp backend", "openai-aiohttp", 600)
BARE = ours("bare aiohttp, no ledger", "aiohttp", 2000)
PEERS = (
    ("bespokelabs-curator", ["bespokelabs-curator"], 100),
    ("distilabel", ["distilabel[openai]", "requests"], 100),  # it imports requests without asking for it
)
"""Neither goes into our environment: they want other versions of the SDK and of much else."""
OURS = (THIN, SDK, PLAIN, BACKED, BARE)
THIN_SHORT, BACKED_SHORT = (
    replace(THIN, latency=SHORT_LATENCY, rounds={}),
    replace(BACKED, latency=SHORT_LATENCY, rounds={}),
)


def spent_by(pid: int) -> float:
    """Processor seconds of a process; nan where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peers(install: bool) -> list[Runner]:
    """The peers that are installed, each in an environment of its own; a sentence for each that is not."""
    found = []
    for package, wanted, pace in PEERS:
        folder = WORK / package
        python = folder / "bin" / "python"
        if not install and not (folder / "ready").exists():
            print(f"{package}: skipped, not installed (--peers installs it into {folder.relative_to(HERE.parent)})")
            continue
        if not (folder / "ready").exists():
            print(f"installing {package} into {folder.relative_to(HERE.parent)}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{package}: skipped, cannot be installed: {last_line(done)}")
                continue
            (folder / "ready").touch()
        found.append(Runner(package, [str(python), str(HERE / "_peer.py"), package], pace, optional=True))
    return found


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What a program said at its end."""
    return (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1][:300]


def show(runners: Sequence[Runner], in_flight: Sequence[int]) -> None:
    """The table: calls a second, share of the ideal, processor time a call."""
    width = max(len(runner.title) for runner in runners)
    heads = " | ".join(f"{f'{n:,} in flight':^31}" for n in in_flight)
    print(f"\n| {'':<{width}} | {heads} |")
    for runner in runners:
        cells = []
        for n in in_flight:
            if n not in runner.rounds:
                cells.append(f"{'':31}")
                continue
            rate, cpu = runner.median(n), runner.median(n, "cpu_ms")
            cells.append(f"{rate:7,.0f}/s  {rate * LATENCY / n:4.2f}  {cpu:6.2f} ms cpu")
        print(f"| {runner.title:<{width}} | {' | '.join(f'{cell:<31}' for cell in cells)} |")
    print("\ncalls a second, share of what the latency allows, processor time of the client a call")


def verdicts(in_flight: Sequence[int], say: Verdicts) -> None:
    """What is wanted beside what was measured."""
    most = [n for n in in_flight if n >= 256]
    for n in most:
        times, share = THIN.median(n) / BACKED.median(n), THIN.median(n) * LATENCY / n
        room = n / LATENCY / BACKED.median(n)
        figure = f"{times:.1f} x the SDK with aiohttp (the latency allows {room:.1f})"
        say.tell(f"calls a second, {n:,} in flight", figure, ">= 4 x", times >= 4.0)
        if times < 4.0 <= room * 1.05:
            print(f"     at {share:.2f} of what the latency allows")
    if 256 in THIN_SHORT.rounds:
        mine, theirs = THIN_SHORT.median(256), BACKED_SHORT.median(256)
        figure = f"{mine / theirs:.1f} x the SDK with aiohttp ({mine:,.0f} and {theirs:,.0f} a second)"
        say.tell(f"256 in flight, replies after {1e3 * SHORT_LATENCY:.0f} ms", figure, ">= 4 x", mine >= 4.0 * theirs)
    if {256, 1024} <= set(in_flight):
        times = THIN.median(1024) / THIN.median(256)
        say.tell("calls a second, 1,024 in flight", f"{times:.2f} x the rate of 256", ">= 1 x", times >= 1.0)
    worst = max(THIN.median(n, "cpu_ms") for n in in_flight)
    say.tell("processor time a call, ledger included", f"{worst:.2f} ms", "<= 0.8 ms", worst <= 0.8)
    replay = statistics.median(told["replay"] for n in in_flight for told in THIN.rounds[n])
    say.tell("finished calls replayed", f"{replay:,.0f} a second", ">= 20,000", replay >= 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round at 256 in flight")
    parser.add_argument(
        "--peers", action="store_true", help="install bespokelabs-curator and distilabel first (minutes, 1.4 GB)"
    )
    options = parser.parse_args()
    in_flight, runs, seconds = ((256,), 1, 1.0) if options.quick else (IN_FLIGHT, RUNS, SECONDS)
    WORK.mkdir(exist_ok=True)
    others = [] if options.quick else peers(options.peers)
    hasty = SCRIPT | {"latency": {"kind": "constant", "seconds": SHORT_LATENCY}}
    with FakeProvider(SCRIPT, own_process=True) as provider, FakeProvider(hasty, own_process=True) as hasty_provider:
        for number in range(runs):
            for n in in_flight:
                for runner in OURS:
                    runner.run(provider, n, seconds)
            for runner in (THIN_SHORT, BACKED_SHORT):
                runner.run(hasty_provider, 256, seconds)
            print(f"round {number + 1} of {runs}, load {os.getloadavg()[0]:.1f}", flush=True)
        for runner in others:
            runner.run(provider, 256, seconds)
            for _ in range(runs - 1 if runner.rounds else 0):
                runner.run(provider, 256, seconds)
    others = [runner for runner in others if runner.rounds]
    print(f"every reply is that of its question: {LATENCY * 1000:.0f} ms, {TOKENS} tokens each")
    show([*OURS, *others], in_flight)
    told = [runner.median(n, "provider_ms") for runner in OURS for n in in_flight]
    peaks = ", ".join(f"{THIN.median(n, 'peak'):,.0f} of {n:,}" for n in in_flight)
    print(f"in flight at once at most, since our gate goes no further than pays: {peaks}")
    print(f"the provider's processor time: {min(told):.2f} to {max(told):.2f} ms a call\n")
    verdicts(in_flight, Verdicts(__file__, ("openai", "aiohttp", "httptools")))
    named = ", ".join(f"{package} {version(package)}" for package in ("openai", "aiohttp", "httptools"))
    named += "".join(f", {runner.title} {runner.rounds[256][0]['version']}" for runner in others)
    print(f"\npython {platform.python_version()}, {named}; {os.cpu_count()} processors; medians of {runs}")


if __name__ == "__main__":
    main()
