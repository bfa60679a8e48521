"""What a rule's setting may be."""

from collections.abc import Mapping

Setting = int | float | bool | str | tuple[str, ...] | Mapping[str, float] | None
"""A value of a rule's setting, as it comes from JSON or YAML."""
