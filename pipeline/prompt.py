"""Prompts: one plain text file per model call and language, with checked placeholders and a hash in the provenance."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.record import Message

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_SECTION = re.compile(r"^\[(system|user|assistant)\]\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt text with `{{name}}` placeholders.

    A chat prompt is a series of turns, each under a line `[system]`, `[user]` or `[assistant]`; a completion prompt
    has no such line. Values are put in once and never read again as placeholders or section lines, so data cannot
    change the prompt's structure.
    """

    name: str
    text: str

    @property
    def ref(self) -> str:
        """`name@hash`, for a record's provenance."""
        return f"{self.name}@{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    def messages(self, **values: str) -> tuple[Message, ...]:
        """The rendered turns of a chat prompt."""
        parts = _SECTION.split(self.text)
        turns = zip(parts[1::2], parts[2::2], strict=True)
        return tuple(Message(role=role, content=_fill(text.strip("\n"), values)) for role, text in turns)

    def render(self, **values: str) -> str:
        """The rendered text of a completion prompt, without the file's final line break."""
        return _fill(self.text.removesuffix("\n"), values)


def _fill(text: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def load_prompt(name: str, placeholders: Collection[str], override: str | None = None, *, chat: bool = True) -> Prompt:
    """Our prompt `pipeline/prompts/<name>.txt`, or the user's own file in its place.

    Args:
        name: file name without `.txt`, such as `evol_instruct.deepen.en`.
        placeholders: the names that the stage fills in; all may be used, none else.
        override: path of a user's prompt file (a stage's `prompt:` setting).
        chat: whether the text must consist of `[role]` turns.

    Raises:
        UsageError: the file is missing, has no turns, names an unknown placeholder or uses none.
    """
    if override is None:
        resource = resources.files("pipeline") / "prompts" / f"{name}.txt"
        if not resource.is_file():
            stem = name.rsplit(".", 1)[0] + "."
            known = ", ".join(sorted(other.removeprefix(stem) for other in _names() if other.startswith(stem)))
            raise UsageError(f"there is no prompt '{name}'", f"languages with this prompt: {known or 'none'}")
        return Prompt(name, resource.read_text(encoding="utf-8"))
    try:
        text = Path(override).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{override}: cannot be read as a prompt: {error}") from error
    found = set(_PLACEHOLDER.findall(text))
    valid = ", ".join("{{" + p + "}}" for p in sorted(placeholders))
    if unknown := sorted(found - set(placeholders)):
        raise UsageError(f"{override}: unknown placeholder '{{{{{unknown[0]}}}}}'", f"valid ones: {valid}")
    if placeholders and not found:
        raise UsageError(f"{override}: the prompt uses none of its placeholders", f"valid ones: {valid}")
    if chat and not _SECTION.match(text):
        raise UsageError(f"{override}: a chat prompt must start with a line '[system]' or '[user]'")
    return Prompt(Path(override).name, text)


def _names() -> list[str]:
    return [item.name.removesuffix(".txt") for item in (resources.files("pipeline") / "prompts").iterdir()]
