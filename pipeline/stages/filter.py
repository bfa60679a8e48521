"""Drop records that a rule objects to, with the reason and the evidence."""

import difflib
import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import polars as pl

from filters import FILTERS, PRESETS, Check
from filters.check import Scope
from filters.turns import turns
from filters.verdict import Verdict, judge
from pipeline import signals
from pipeline.errors import UsageError
from pipeline.record import SCHEMA, detail_text, view
from pipeline.stage import Outcome, Tools
from pipeline.stages.bad_turns import Handling, spared

_DEFAULT_PRESET = "clean"
_EVIDENCE_CHARS = 300
_EVIDENCE_ITEMS = 5
_ACROSS_ROWS = (
    r"(?i)\bover\b|\b(?:avg|mean|sum|count|min|max|first|last|median|mode|std\w*|var\w*|quantile\w*|corr|covar\w*|\w+_agg|"
    r"unnest|explode|row_number|\w*rank|cume_dist|ntile|lag|lead|\w+_value|approx\w*)\s*\("
)
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}

_Rules = list[tuple[str, tuple[Check, ...]]]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Drops a record at the first objection of the rules, in their order; every reason's hits are counted all the same.

    Attributes:
        preset: a list of rules to start from; `clean` when neither this nor `rules` is given.
        rules: names of rules, or rules with settings such as `{length: {min_words: 3}}`; they come after the preset's,
            or change its settings; `{ending: null}` takes a rule of the preset out.
        custom: your own rules, each `{reason, sql}` (a polars-SQL condition on a record's columns) or
            `{reason, field, regex}` (Rust syntax); `field` is `text`, the whole conversation, when not given.
        bad_turns: what becomes of a conversation of which only some turns are bad: `drop` it; `cut` it before the
            first of them; or `mask` their answers with weight 0, which trainers that read the weights of messages
            skip. Rules about the whole record drop it in any case.
    """

    scope: ClassVar[Literal["rows"]] = "rows"

    preset: str | None = field(default=None, metadata={"schema": {"enum": [*PRESETS, None]}})
    rules: tuple[str, ...] | dict[str, Any] = ()
    custom: tuple[dict[str, str], ...] = ()
    bad_turns: Handling = "drop"

    def __post_init__(self) -> None:
        self.checks()

    def run(self, block: pl.DataFrame, tools: Tools) -> Outcome:
        """What is kept and dropped of the block."""
        rules = self.checks()
        viewed = view(block).with_row_index("row")
        frames: dict[Scope, pl.DataFrame] = {
            "turn": signals.add(turns(viewed), _columns(rules, "turn")),
            "record": signals.add(viewed, _columns(rules, "record")),
        }
        try:
            return _outcome(block, judge(frames, rules), self.bad_turns)
        except pl.exceptions.PolarsError as error:
            if not self.custom:
                raise
            cause = str(error).strip().splitlines()[0]
            hint = "if it casts a text to a number, use TRY_CAST; if not, try the rules one by one"
            raise UsageError(f"filter: a custom rule cannot be computed for these rows: {cause}", hint) from error

    def checks(self) -> _Rules:
        """Every rule's name and checks, in order."""
        checks = [(name, _rule(name, settings)) for name, settings in self.chosen().items()]
        return checks + [("custom", (_custom(item),)) for item in self.custom]

    def chosen(self) -> dict[str, Mapping[str, Any]]:
        """Rules with their settings: the preset's, changed and continued by `rules`."""
        preset = self.preset or (None if self.rules else _DEFAULT_PRESET)
        if preset is not None and preset not in PRESETS:
            raise _unknown(f"preset '{preset}'", preset, PRESETS)
        chosen: dict[str, Mapping[str, Any]] = dict(PRESETS[preset]) if preset else {}
        for name in self.rules:
            if name not in FILTERS:
                raise _unknown(f"rule '{name}'", name, FILTERS)
            settings = self.rules[name] if isinstance(self.rules, Mapping) else {}
            if settings is None:
                chosen.pop(name, None)
            elif isinstance(settings, Mapping):
                chosen[name] = {**chosen.get(name, {}), **settings}
            else:
                hint = (
                    f"write '{name}: {{}}' for its defaults; it knows: {', '.join(_parameters(name)) or 'no setting'}"
                )
                raise UsageError(f"filter: rule '{name}' takes a mapping of settings, not {settings!r}", hint)
        return chosen


def _outcome(block: pl.DataFrame, told: Verdict, bad_turns: Handling) -> Outcome:
    """The block split by the verdict; drops keep their order."""
    block, kept_after_all, fixed = spared(block, told.turns, told.whole, bad_turns)
    numbers = sorted(set(told.objections) - kept_after_all)
    objections = [told.objections[number] for number in numbers]
    details = []
    for o in objections:
        detail = {"rule": o.rule, "field": o.field, "value": short(o.value)}
        details.append(detail_text(detail if o.turn is None else {**detail, "turn": o.turn}))
    dropped = pl.Series(numbers, dtype=pl.UInt32)
    drops = block[dropped].with_columns(
        pl.Series("reason", [o.reason for o in objections], dtype=pl.String),
        pl.Series("detail", details, dtype=pl.String),
    )
    kept = block.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(dropped.implode()))
    return Outcome(kept=kept, drops=drops, hits=told.hits, fixed=fixed)


def short(value: Any) -> Any:
    """Evidence cut to a length that can be stored for every drop."""
    if isinstance(value, Mapping):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [short(item) for item in value[:_EVIDENCE_ITEMS]]
    return value[:_EVIDENCE_CHARS] if isinstance(value, str) else value


def _columns(rules: _Rules, scope: Scope) -> set[str]:
    """The columns that checks of this scope read."""
    read = (check for _, checks in rules for check in checks if check.scope == scope)
    return {name for check in read for name in check.columns()}


def _rule(name: str, settings: Mapping[str, Any]) -> tuple[Check, ...]:
    """The rule's checks, made once in a process: they are the same for every block."""
    return _made(name, json.dumps(settings, sort_keys=True, default=list))


@functools.lru_cache(maxsize=256)
def _made(name: str, written: str) -> tuple[Check, ...]:
    """The rule's checks, its settings (JSON text) checked against the function's parameters."""
    settings, known = json.loads(written), _parameters(name)
    values = {}
    for key, value in settings.items():
        if key not in known:
            raise _unknown(f"setting '{key}' of rule '{name}'", key, known)
        values[key] = tuple(value) if isinstance(value, list) else value
        if not _fits(values[key], known[key]):
            raise UsageError(f"filter: '{key}' of rule '{name}' must be {_kind(known[key])}, not {value!r}")
    try:
        return FILTERS[name](**values)
    except ValueError as error:
        raise UsageError(f"filter: rule '{name}': {error}") from error


def _parameters(name: str) -> dict[str, Any]:
    """A rule's settings and their types."""
    hints = typing.get_type_hints(FILTERS[name])
    return {parameter: hints[parameter] for parameter in inspect.signature(FILTERS[name]).parameters}


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    for option in _options(hint):
        origin = get_origin(option)
        if origin is Literal:
            fits = value in get_args(option)
        elif origin is dict:
            fits = isinstance(value, Mapping) and all(_fits(item, get_args(option)[1]) for item in value.values())
        elif origin is tuple:
            fits = isinstance(value, tuple) and all(_fits(item, get_args(option)[0]) for item in value)
        elif option is float:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        else:
            fits = isinstance(value, option) and (option is bool or not isinstance(value, bool))
        if fits:
            return True
    return False


def _kind(hint: Any) -> str:
    names = []
    for option in _options(hint):
        if get_origin(option) is Literal:
            names.append("one of " + ", ".join(map(str, get_args(option))))
        elif get_origin(option) is tuple:
            names.append("a list of texts")
        elif get_origin(option) is dict:
            names.append("a mapping of names to numbers")
        elif option is not type(None):
            names.append(_KINDS[option])
    return " or ".join(names)


def _custom(item: Mapping[str, str]) -> Check:
    """The check of a custom rule, tried out on no rows at all."""
    valid = ("reason", "sql", "field", "regex")
    for key in item:
        if key not in valid:
            raise _unknown(f"key '{key}' in a custom rule", key, valid)
    reason = item.get("reason", "")
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", reason):
        found = f"not '{reason}'" if reason else "and this one has none"
        raise UsageError(
            f"filter: a custom rule needs a reason such as 'too-chatty', {found}",
            "lower-case letters, digits, '-' and '_'; it is the name under which drops are counted",
        )
    if ("sql" in item) == ("regex" in item) or ("field" in item and "sql" in item):
        raise UsageError(
            f"filter: the custom rule '{reason}' must have either 'sql', or 'regex' and its 'field'",
            "for example sql: \"n_turns > 20\", or field: output and regex: '(?i)lorem ipsum'",
        )
    return _sql_check(reason, item["sql"]) if "sql" in item else _regex_check(reason, item)


def _regex_check(reason: str, item: Mapping[str, str]) -> Check:
    column, pattern = item.get("field", "text"), item["regex"]
    texts = [name for name, kind in _SAMPLE.schema.items() if kind == pl.String]
    if column not in texts:
        raise _unknown(f"field '{column}' in the custom rule '{reason}'", column, texts)
    found = pl.col(column).str.contains(pattern)
    try:
        _SAMPLE.select(found)
    except pl.exceptions.ComputeError as error:
        cause = str(error).split("\n\nThis error")[0].strip().splitlines()[-1].removeprefix("error: ")
        hint = "Rust syntax: no look-around and no back-references; quote it with '' in YAML"
        raise UsageError(f"filter: the regex of the custom rule '{reason}' is not valid: {cause}", hint) from error
    return Check(reason=reason, field=column, when=found, value=pl.col(column).str.extract(pattern, 0), scope="record")


def _sql_check(reason: str, sql: str) -> Check:
    rule = f"filter: the sql of the custom rule '{reason}'"
    columns = ", ".join(_SAMPLE.columns)
    if re.search(_ACROSS_ROWS, re.sub(r"'[^']*'", "", sql)):
        raise UsageError(
            f"{rule} looks at more than one row at a time",
            "its answer would depend on how rows are cut into blocks; leave out aggregates, OVER and UNNEST",
        )
    try:
        condition = pl.sql_expr(sql)
        dtype = _SAMPLE.select(condition.alias("condition")).schema["condition"]
    except pl.exceptions.ColumnNotFoundError as error:
        named = re.search(r'"([^"]+)"', str(error))
        column = named[1] if named else sql
        raise _unknown(
            f"column '{column}' in the sql of the custom rule '{reason}'", column, _SAMPLE.columns
        ) from error
    except (pl.exceptions.PolarsError, ValueError) as error:
        cause = str(error).strip().splitlines()[0]
        raise UsageError(f"{rule} is not valid: {cause}", f"a condition on the columns {columns}") from error
    names = list(dict.fromkeys(condition.meta.root_names()))
    if dtype != pl.Boolean or not names:
        wrong = "reads no column" if dtype == pl.Boolean else f"gives {dtype} and not true or false"
        raise UsageError(
            f"{rule} {wrong}", f"compare something with something, such as 'n_turns > 20'; columns: {columns}"
        )
    return Check(reason=reason, field=", ".join(names), when=condition, value=pl.struct(names), scope="record")


def _sample() -> pl.DataFrame:
    """No rows, with every column that a custom rule may read."""
    measured = {
        name: pl.String if name.endswith("language") else pl.Float64 if name.endswith("confidence") else pl.Int64
        for name in signals.signal_names()
    }
    viewed = view(pl.DataFrame(schema=SCHEMA))
    return viewed.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in measured.items())


_SAMPLE = _sample()


def _unknown(what: str, name: str, valid: Iterable[str]) -> UsageError:
    names = list(valid)
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UsageError(f"filter: unknown {what}", f"{hint}valid ones: {', '.join(names) or 'none'}")
