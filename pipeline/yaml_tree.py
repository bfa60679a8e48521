"""A YAML file that knows the line of each of its values, so that errors can say where."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from pipeline.errors import UsageError


def suggest(word: str, valid: Sequence[str] | Mapping[str, Any]) -> str:
    """A hint for a misspelt word: the closest valid one, or all of them."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f"did you mean '{close[0]}'?" if close else f"valid ones: {', '.join(valid)}"


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a repeated key is an error rather than a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is repeated", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Tree:
    """A parsed YAML file that knows the line of each of its values."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        try:
            self._node = yaml.compose(text, Loader=_UniqueKeys)
            value = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UsageError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise UsageError(f"{path}: not valid YAML: {error}") from error
        if not isinstance(value, dict):
            raise UsageError(f"{path}:1: a recipe is a mapping with 'entries:'", "see recipes/demo.yaml")
        self.value: dict[str, Any] = value

    def line(self, where: Sequence[str | int]) -> int:
        """Line of the deepest value on the way `where` that exists in the file."""
        node, line = self._node, 1
        for step in where:
            children: list[tuple[Any, Any]] = []
            if isinstance(node, yaml.MappingNode):
                children = [(key.value, (key, value)) for key, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                children = [(i, (value, value)) for i, value in enumerate(node.value)]
            found = dict(children).get(step)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return int(line)

    def error(self, where: Sequence[str | int], message: str, hint: str | None = None) -> UsageError:
        """A usage error that begins with file and line."""
        return UsageError(f"{self.path}:{self.line(where)}: {message}", hint)

    def check(self, value: Any, schema: Mapping[str, Any], where: tuple[str | int, ...], label: str = "") -> None:
        """Raise the first schema violation as a sentence."""
        found = jsonschema.Draft202012Validator(schema).iter_errors(value)
        best = jsonschema.exceptions.best_match(found)
        if best is None:
            return
        at = (*where, *best.absolute_path)
        place = (
            f" in {label}"
            if label
            else (f" in {'.'.join(str(p) for p in best.absolute_path)}" if best.absolute_path else "")
        )
        if best.validator == "additionalProperties":
            valid = list(best.schema.get("properties", {}))
            unknown = next(str(k) for k in best.instance if k not in valid)
            raise self.error((*at, unknown), f"unknown key '{unknown}'{place}", suggest(unknown, valid))
        if best.validator == "required":
            required: Sequence[str] = cast(Any, best.validator_value)
            missing = next(k for k in required if k not in best.instance)
            raise self.error(at, f"'{missing}' is missing{place}")
        key = best.absolute_path[-1] if best.absolute_path else ""
        inside = f"'{key}'{place}: " if label else f"{place.removeprefix(' in ')}: " if place else ""
        raise self.error(at, f"{inside}{_plain(best)}")


def _plain(error: jsonschema.ValidationError) -> str:
    value = json.dumps(error.instance, ensure_ascii=False, default=str)[:80]
    wanted: Any = error.validator_value
    if error.validator == "type":
        return f"{value} should be {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
    if error.validator == "enum":
        return f"{value} is not one of {', '.join(str(v) for v in wanted)}"
    return error.message[:200]
