"""The models of one run: resolved from recipe and environment, opened when first asked, closed at the end."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline import batching
from pipeline.engine import CallEngine, Calls
from pipeline.errors import IncompleteError, UsageError
from pipeline.llm import ledger_tools
from pipeline.llm.client import Client
from pipeline.llm.lease import patience_of, whole_ledger
from pipeline.llm.ledger_tools import Choice
from pipeline.llm.limits import read_changes
from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import unpriced
from pipeline.llm.roles import resolve_models
from pipeline.llm.standstill import Noticeboard, Standstill
from pipeline.recipe import Entry, Recipe
from pipeline.stage import Stage

REHEARSAL = "rehearsal"
"""Stands for the fake provider's address in ledger keys, since its port changes."""


def ledger_folder(environ: Mapping[str, str], outputs: Path, *, rehearse: bool) -> Path:
    """Where finished calls are kept: LEDGER when set, else `<outputs>/ledger`; rehearsals have their own."""
    if rehearse:
        return outputs / "ledger-rehearsal"
    return Path(environ["LEDGER"]) if environ.get("LEDGER") else outputs / "ledger"


class Models:
    """A context: the embedded server, the fake provider and the ledger live as long as it lasts, once they are needed.

    Args:
        rehearse: every role is answered by the fake provider.
        idle: nothing is ever asked (for previews); profiles are still known.
    """

    def __init__(
        self,
        recipe: Recipe,
        environ: Mapping[str, str],
        *,
        outputs: Path,
        run: str,
        rehearse: bool = False,
        idle: bool = False,
        notice: Callable[[str], None] = lambda sentence: print(f"note: {sentence}", file=sys.stderr, flush=True),
    ) -> None:
        self._recipe, self._environ, self._run = recipe, environ, run
        self._ledger = ledger_folder(environ, outputs, rehearse=rehearse)
        self._rehearse, self._idle, self._notice = rehearse, idle, notice
        self._stack = ExitStack()
        self._engine: CallEngine | None = None
        self._calls: Calls | None = None
        self._served: Mapping[str, ModelSpec] = {}
        self._opening = Noticeboard()
        self._changed: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "Models":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def use(self, engine: CallEngine) -> None:
        """Where calls are to be made."""
        self._engine = engine

    @cached_property
    def specs(self) -> dict[str, ModelSpec]:
        """The models by role; UsageError when the environment or the recipe does not name one."""
        if not self._rehearse:
            return resolve_models(self._recipe.models, self._environ)
        fake = {"base_url": "http://127.0.0.1:9/v1", "endpoint_name": REHEARSAL}
        own = {role: {k: v for k, v in m.items() if k in _REHEARSED} for role, m in self._recipe.models.items()}
        default = {"model": "fake"} | own.pop("default", {}) | fake
        roles = {role: {"model": "fake"} | settings | fake for role, settings in own.items()}
        specs = resolve_models({"default": default, **roles}, {})
        return {role: replace(spec, price=self._real_price(role)) for role, spec in specs.items()}

    def _real_price(self, role: str) -> Mapping[str, float] | None:
        """What the model that a rehearsal stands for costs, so that a budget can be rehearsed too."""
        try:
            return resolve_models(self._recipe.models, self._environ)[role].price
        except UsageError:  # nobody has said yet which model that will be
            return None

    def described(self, roles: tuple[str, ...]) -> dict[str, Any]:
        """What decides these roles' replies, for fingerprints and manifests: no secret, no address that changes."""
        for role in roles:
            Client(_NOWHERE, self.specs, "").profile(role)
        return {role: self._described(self.specs[role]) for role in roles}

    @staticmethod
    def _described(spec: ModelSpec) -> dict[str, Any]:
        # Terms that the recipe states are in the records; what is known of them otherwise is in the code.
        terms = {} if spec.terms is None else {"terms": list(spec.terms)}
        return spec.identity | {"small": spec.small} | terms

    def require_languages(self, entry: Entry) -> None:
        """Raise UsageError when an entry writes in a language that its model is known not to write.

        Asked of every entry before the first one runs, so that nobody waits an hour to read it.
        """
        language = getattr(entry.stage, "to", None) or getattr(entry.stage, "language", None)
        if language is not None and entry.model_roles:
            Client(_NOWHERE, self.specs, "").profile(entry.model_roles[0]).require_language(language)

    def require_prices(self, entry: Entry) -> None:
        """Raise UsageError when there is a budget and the price of a model that an entry asks is not known."""
        for role in entry.model_roles if self._recipe.budget_usd is not None else ():
            Client(_NOWHERE, self.specs, "").profile(role)
            if self.specs[role].price is None:
                raise unpriced(self.specs[role])

    def require_batchable(self, entry: Entry) -> None:
        """Raise UsageError when an entry that cannot ask by batch would; asked of every entry before the first runs."""
        if entry.model_roles:
            batching.require_batchable(entry, self.specs)

    def reach(self, entry: Entry) -> Stage:
        """The entry's stage as it is run, see `batching.reach`."""
        return batching.reach(entry, self.specs) if entry.model_roles else entry.stage

    def open(self, entry: Entry) -> Client:
        """What an entry asks; the first time starts servers and takes the ledger."""
        if self._idle:
            return Client(_NOWHERE, self.specs, entry.name)
        if self._calls is None:
            self._start()
        assert self._calls is not None
        return Client(self._calls, self._served, entry.name)

    def _start(self) -> None:
        assert self._engine is not None
        specs: Mapping[str, ModelSpec] = self.specs
        with self._said("the ledger is being opened"):
            lease = whole_ledger(self._ledger, self._run, patience_of(self._environ), self._somebody_else)
            self._stack.enter_context(lease)
        if self._rehearse:
            from pipeline.llm.fake.provider import FakeProvider

            provider = self._stack.enter_context(FakeProvider())
            specs = {role: replace(spec, base_url=provider.url) for role, spec in specs.items()}
        from pipeline.llm.local import serving

        with self._said("the embedded model is being loaded" if any(spec.local for spec in specs.values()) else None):
            self._served = self._stack.enter_context(serving(specs))
        with self._said("the ledger is being opened"):
            self._calls = self._engine.calls(self._served, self._ledger, self._run, self._somebody_else)
        self._stack.callback(self._calls.close)
        self._calls.spend_at_most(self._recipe.budget_usd)
        if self._changed:
            self._calls.change_limits(self._changed)
        finished = ledger_tools.count(self._ledger, Choice(run=self._run))
        lost = self._calls.usage().in_flight_found_at_open
        if finished or lost:
            self._notice(_resuming(self._run, finished, lost))

    @contextmanager
    def _said(self, why: str | None) -> Iterator[None]:
        """Let whoever watches know what takes so long."""
        if why is not None:
            self._opening.put("opening", why)
        yield
        self._opening.remove("opening")

    def _somebody_else(self, sentence: str) -> None:
        """Another run holds the ledger."""
        patience = patience_of(self._environ)
        self._opening.put("opening", sentence, patience)
        self._notice(f"{sentence}; waiting for it up to {patience:.0f} s (LEDGER_PATIENCE)")

    def standstill(self) -> Standstill | None:
        """What everything waits for, when it is anything but a reply."""
        return self._opening.read() or (None if self._calls is None else self._calls.standstill())

    def usage(self, entry: str | None = None) -> dict[str, Any]:
        """Calls, tokens and money so far, of one entry or of all; empty before the first call."""
        return {} if self._calls is None else self._calls.usage(entry).as_dict()

    def live_usage(self) -> dict[str, Any]:
        """What all entries have used so far, `money` spent and left, and `outages`, a sentence for each."""
        if self._calls is None:
            return {}
        return self._calls.usage().as_dict() | {"money": self._calls.money(), "outages": self._calls.outages()}

    def batches(self) -> dict[str, Any] | None:
        """What is under way in batches, None when nothing is."""
        return None if self._calls is None else self._calls.batches()

    def change_limits(self, wished: Mapping[str, Mapping[str, Any]]) -> str:
        """Keep other limits until this process ends; what was changed, in words.

        Raises:
            UsageError: see `limits.read_changes`.
        """
        for role, limits in read_changes(wished, self.specs).items():
            self._changed[role] = self._changed.get(role, {}) | limits
        if self._calls is not None:
            self._calls.change_limits(self._changed)
        told = []
        for role, limits in self._changed.items():
            told.append(f"{role}: " + ", ".join(f"{n} {'none' if v is None else v}" for n, v in limits.items()))
        return f"limits until this run ends: {'; '.join(told)}"

    def halt(self) -> None:
        """Somebody asked the run to stop: it waits for no batch any more."""
        if self._calls is not None:
            self._calls.halt(IncompleteError("stopped on request", "run the same command again to go on"))


def _resuming(run: str, finished: int, lost: int) -> str:
    """What a run is told that finds work of its own in the ledger, or calls that were left in flight."""
    parts = []
    if finished:
        calls = "1 finished call" if finished == 1 else f"{finished:,} finished calls"
        parts.append(f"the ledger holds {calls} of run '{run}', to be reused where they are needed")
    if lost:
        calls = "1 call was" if lost == 1 else f"{lost:,} calls were"
        lists = "'seedmill ledger ls --lost' lists them"
        parts.append(f"{calls} in flight when the last process died (maybe paid; {lists})")
    return "; ".join(parts)


_REHEARSED = ("model", "server", "style", "languages", "concurrency", "max_tokens", "mode", "batch")
"""What a rehearsal keeps of a model's settings."""


class _Nowhere:
    """Finds and sends nothing."""

    def find(self, call: Any) -> None:
        raise UsageError(
            f"entry '{call.entry}' asks a model and is not finished",
            f"run it first: seedmill run RECIPE --to {call.entry}",
        )

    def send(self, call: Any) -> Any:
        raise AssertionError("nothing is sent that was not looked for")

    def awaits(self, key: Any) -> None:
        """Nothing was sent."""

    def release(self, keys: Any) -> None:
        """Nothing was sent."""


_NOWHERE = _Nowhere()
