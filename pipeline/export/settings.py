"""What a recipe's `export:` says: its JSON Schema, and the same with every default filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pipeline.errors import UsageError
from pipeline.trainers.of_export import CHECK_SCHEMA

EXPORTS = ("alpaca", "sharegpt", "messages", "parquet")

SHARD_MB = 500.0
"""As `datasets` cuts its own shards, in memory; on disk a third of it or less."""

EXPORT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "formats": {"type": "array", "minItems": 1, "items": {"enum": list(EXPORTS)}},
        "pretty_name": {"type": "string"},
        "license": {"type": "string"},
        "only_licenses": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        "split": {
            "type": "object",
            "propertyNames": {"pattern": "^(?!(train|all)$)[a-z][a-z0-9_]*$"},
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        },
        "shard_mb": {"type": "number", "exclusiveMinimum": 0},
        "check": CHECK_SCHEMA,
    },
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an export is made.

    Attributes:
        formats: some of EXPORTS.
        title: name of the dataset for people; the recipe's name when not given.
        license: licence of the whole, when the publisher states one.
        only_licenses: export rows under these alone; all rows when empty.
        split: split -> share of the rows that go there rather than to `train`.
        shard_mb: megabytes of a parquet file at most, in memory.
        expect: the recipe's `expect:`, see `pipeline.expect`.
    """

    formats: tuple[str, ...] = EXPORTS
    title: str | None = None
    license: str | None = None
    only_licenses: tuple[str, ...] = ()
    split: Mapping[str, float] = field(default_factory=dict)
    shard_mb: float = SHARD_MB
    expect: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in EXPORTS]
        if unknown or not self.formats:
            hint = f"export formats: {', '.join(EXPORTS)}"
            raise UsageError(f"there is no export format '{', '.join(unknown)}'", hint)
        if sum(self.split.values()) >= 1:
            raise UsageError("export.split leaves nothing for train", "its shares must add up to less than 1")

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits, `train` first."""
        return ("train", *self.split)

    def as_json(self) -> list[Any]:
        """Everything in it, for a fingerprint."""
        return [list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)]


def settings_of(export: Mapping[str, Any], expect: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a recipe's `export:` and `expect:`, both as its schema has them; `check:` changes no file."""
    named: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in export.items() if k != "check"}
    if "pretty_name" in named:
        named["title"] = named.pop("pretty_name")
    return Settings(**named, expect=expect or {})
