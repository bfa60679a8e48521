"""A script: everything the fake provider does, as data."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.errors import UsageError
from pipeline.llm.fake.check import check, pattern
from pipeline.llm.fake.faults import Fault, faults_of
from pipeline.llm.fake.question import Question
from pipeline.llm.fake.replies import check_reply
from pipeline.llm.fake.rule import FALLBACK, Rule, rule_of

REHEARSAL = "rehearsal.yaml"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds until a reply, without its tokens; see the schema for what `seconds` and `spread` mean."""

    kind: Literal["constant", "uniform", "exponential", "lognormal"] = "constant"
    seconds: float = 0.0
    spread: float = 0.5

    def of(self, question: Question, attempt: int) -> float:
        """The latency of this attempt, a function of the body and the attempt."""
        if self.kind == "constant" or not self.seconds:
            return self.seconds
        dice = question.dice("latency", attempt)
        if self.kind == "uniform":
            return self.seconds * max(0.0, 1 + self.spread * (2 * dice.random() - 1))
        if self.kind == "exponential":
            return dice.expovariate(1 / self.seconds)
        return self.seconds * math.exp(dice.gauss(0.0, self.spread))


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """Requests and tokens that a window allows; None is no limit."""

    requests: int | None = None
    tokens: int | None = None
    seconds: float = 60.0
    burst: float = 1.0
    headers: bool = True
    retry_after: bool = True


@dataclass(frozen=True, kw_only=True)
class Price:
    """USD per million tokens; `batch_discount` is the share taken off in a batch."""

    input: float
    output: float
    cached_input: float | None = None
    batch_discount: float = 0.5


@dataclass(frozen=True, kw_only=True)
class BatchTerms:
    """How batches go; see the schema."""

    seconds: float = 0.2
    cancel_seconds: float = 0.0
    expired_share: float = 0.0
    max_lines: int = 50_000
    max_bytes: int = 200 * 1024 * 1024
    max_enqueued_tokens: int | None = None
    absent: bool = False
    reject: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Script:
    """All that a script says; see `script.schema.json` for each setting."""

    rules: tuple[Rule, ...] = ()
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    latency: Latency = Latency()
    tokens_per_second: float | None = None
    capacity: int | None = None
    rate_limit: RateLimit = RateLimit()
    valid_keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    price: Mapping[str, Price] = field(default_factory=dict)
    cached_share: float = 0.0
    context: int | None = None
    refuses: tuple[str, ...] = ()
    moderation: tuple[tuple[str, re.Pattern[str]], ...] = ()
    batch: BatchTerms = BatchTerms()
    keep_bodies: bool = False

    def rule(self, question: Question) -> Rule:
        """The first rule whose conditions hold."""
        return next((rule for rule in self.rules if rule.when.holds(question)), FALLBACK)


def load_script(path: Path | str | None = None) -> Script:
    """The script in a YAML or JSON file; without a path, the rehearsal's.

    Raises:
        UsageError: the file cannot be read, is no YAML, or says something the schema does not know.
    """
    if path is None:
        return parse_script(_rehearsal(), REHEARSAL)
    try:
        source = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"{path}: cannot be read: {why}", "name a YAML file, or none for the rehearsal's") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read as a script: it is not UTF-8") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    return parse_script({} if source is None else source, str(path))


def parse_script(source: Any, file: str = "script") -> Script:
    """The script of a mapping as YAML gives it; `file` names it in errors."""
    check(source, file)
    plain = {
        k: source[k]
        for k in ("seed", "tokens_per_second", "capacity", "cached_share", "context", "keep_bodies")
        if k in source
    }
    rules = source.get("rules")
    file_of_rules = file
    if rules is None:
        rules, file_of_rules = _rehearsal()["rules"], REHEARSAL
        check({"rules": rules}, file_of_rules)
    return Script(
        rules=tuple(_rule(item, i, file_of_rules) for i, item in enumerate(rules)),
        faults=faults_of(source.get("faults", ()), file),
        latency=Latency(**source.get("latency", {})),
        rate_limit=RateLimit(**source.get("rate_limit", {})),
        valid_keys=tuple(source.get("valid_keys", ())),
        models=tuple(source.get("models", ())),
        price={model: Price(**terms) for model, terms in source.get("price", {}).items()},
        refuses=tuple(source.get("refuses", ())),
        moderation=tuple(
            (item["category"], pattern(item["text"], file, f"moderation[{i}].text"))
            for i, item in enumerate(source.get("moderation", ()))
        ),
        batch=BatchTerms(**source.get("batch", {})),
        **plain,
    )


def _rule(item: Mapping[str, Any], i: int, file: str) -> Rule:
    check_reply(item["reply"], file, f"rules[{i}].reply")
    return rule_of(item, i, file)


def _rehearsal() -> dict[str, Any]:
    text = (resources.files(__package__) / REHEARSAL).read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded
