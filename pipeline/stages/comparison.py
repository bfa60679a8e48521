"""One conversation with a judge who compares two tasks: the question, the verdict, and one more asking without one."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile, Reply, Request
from pipeline.llm.structured import Form, Parsed, ask_json, closed, require_json
from pipeline.prompt import Prompt, load_prompt
from pipeline.stages.elimination import verdict
from pipeline.stages.task_markup import Language

FORM = Form(
    "comparison", closed(difference={"type": "string"}, verdict={"type": "string", "enum": ["equal", "different"]})
)
"""The judge's reply in JSON: the difference first, so that the verdict follows from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Who compares, and how it is asked.

    Attributes:
        json: whether the judge replies in JSON.
    """

    profile: Profile
    language: Language
    prompt: Prompt
    max_tokens: int
    json: bool

    @staticmethod
    def of(profile: Profile, language: Language, *, max_tokens: int, json: bool) -> "Comparison":
        """The comparison with our prompt; UsageError when the model cannot be asked for JSON."""
        if json:
            require_json(profile, "judge_reply: json")
        name = "judge_json.chat" if json else f"judge.{profile.style}"
        chat = json or profile.style == "chat"
        prompt = load_prompt(f"evol_instruct.{name}.{language}", ("first", "second"), chat=chat)
        return Comparison(profile=profile, language=language, prompt=prompt, max_tokens=max_tokens, json=json)

    def judged(self, first: str, second: str) -> Flow[tuple[bool | None, list[Reply]]]:
        """Whether the tasks are equal to the judge (None when it says neither, asked twice), and its replies."""
        request = self._request(first, second)
        if self.json:
            found = yield from ask_json(request, FORM, self.language)
            return found.value["verdict"] == "equal" if isinstance(found, Parsed) else None, list(found.replies)
        heard: list[Reply] = []
        for sample in (0, 1):
            heard.append((yield replace(request, sample=sample)))
            equal = verdict(heard[-1].text, self.language)
            if equal is not None:
                return equal, heard
        return None, heard

    def _request(self, first: str, second: str) -> Request:
        """In the model's style; only a completion needs to be told where to stop."""
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": self.max_tokens}
        role, values = self.profile.role, {"first": first, "second": second}
        if self.json or self.profile.style == "chat":
            return Request(role=role, messages=self.prompt.messages(**values), params=params)
        return Request(role=role, prompt=self.prompt.render(**values), params={**params, "stop": ["\n"]})
