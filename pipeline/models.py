"""The models of one run: resolved from recipe and environment, opened when first asked, closed at the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.llm.models import ModelSpec, resolve_models
from pipeline.recipe import Entry, Recipe


def ledger_folder(environ: Mapping[str, str], outputs: Path, *, rehearse: bool) -> Path:
    """Where finished calls are kept: LEDGER when set, else `<outputs>/ledger`; rehearsals have their own."""
    if rehearse:
        return outputs / "ledger-rehearsal"
    return Path(environ["LEDGER"]) if environ.get("LEDGER") else outputs / "ledger"


class Models:
    def __init__(self, recipe: Recipe, environ: Mapping[str, str], *, outputs: Path, run: str, rehearse: bool = False, idle: bool = False) -> None:
        self._recipe, self._environ = recipe, environ
        self._specs = None

    def __enter__(self): return self
    def __exit__(self, *a): pass
    @property
    def specs(self):
        if self._specs is None: self._specs = resolve_models(self._recipe.models, self._environ)
        return self._specs
    def use(self, engine): pass
    def described(self, roles): return {r: self.specs[r].identity | {"small": self.specs[r].small} for r in roles}
    def usage(self): return {}
    def finish_entry(self): return {}
    def open(self, entry): raise NotImplementedError
