"""Whether what came back is a translation of what was sent: every check a translated text must pass."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.signals import MIN_LETTERS, UNKNOWN, identify
from pipeline.spans import TOKEN, protect
from pipeline.stages.languages import letters_of, primary, weight
from pipeline.stages.numerals import lost_numbers
from pipeline.stages.parts import Part

_PART = re.compile(r"<part\s+id\s*=\s*[\"'“”]?(\d{1,6})[\"'“”]?[^<>\n]*>(.*?)</part\s*>", re.DOTALL)
_QUOTED = re.compile(
    r"\"[^\"\n]+\"|“[^”\n]+”|‘[^’\n]+’|(?<!\w)'[^'\n]+'(?!\w)|「[^」\n]+」|『[^』\n]+』|«[^»\n]+»|„[^“\n]+“"
)
_QUESTION_MARK = re.compile(r"[?？؟;՞]")

SHORTEST, LONGEST = 0.33, 2.5
"""A translation's length as a share of its source's, both weighed in Latin letters. On 6,204 Alpaca rows with their
Chinese translations (hikariming/alpaca_chinese_dataset) instructions lie between 0.42 and 1.96, 99 % of outputs between
0.6 and 1.7."""

SHORTEST_REQUEST, LONGEST_REQUEST = 0.4, 1.8
"""The same for a question or task: what is longer, or much shorter, has been carried out. On those rows 3 of 6,191 true
translations of an instruction are suspected by one sign or another, and of their answers put in its place 75 % are;
with the translated answer beside it (ECHO) 95 %."""

SLACK = 20.0
"""Letters by which a length may miss these bounds: a two-letter word has translations of any length."""

ECHO = (0.9, 0.6)
"""A translated task that shares this much of its words with the translated answer, while in the source it shares less
than that, is the answer. One in 6,204 of those rows does so."""

SURE = 0.8
"""An answer or input may be names only; lid.176 must be this sure before one is said to be in a wrong language."""

_UNMARKED = frozenset(("ja", "th", "lo", "km", "my"))
"""Languages that often write questions without a question mark."""

_NEAR = (
    frozenset(("hr", "sr", "bs", "sh")),
    frozenset(("id", "ms")),
    frozenset(("no", "nb", "nn", "da")),
    frozenset(("cs", "sk")),
    frozenset(("gl", "pt")),
    frozenset(("zh", "yue", "wuu")),
    frozenset(("tl", "fil", "ceb")),
)
"""Languages that lid.176 takes for each other."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a part's translation.

    Attributes:
        part: number of the part in its pack, from 1; 0 means the whole reply.
        reason: a drop's slug.
        evidence: the values that decided it.
    """

    part: int
    reason: str
    evidence: Any = None


def shown(pack: Sequence[Part], numbers: Sequence[int]) -> str:
    """The parts as they stand in a prompt. Tags in the data are tokens by now, so none can close a part."""
    return "\n\n".join(
        f'<part id="{n}" kind="{part.kind}">\n{part.source.text}\n</part>'
        for n, part in zip(numbers, pack, strict=True)
    )


def read_parts(reply: str) -> dict[int, list[str]]:
    """Part number -> every text given for it; whatever stands outside of the parts is not read."""
    found: dict[int, list[str]] = {}
    for number, text in _PART.findall(reply):
        found.setdefault(int(number), []).append(text.strip())
    return found


def faults_of(pack: Sequence[Part], texts: Sequence[str], source: str | None, target: str) -> list[Fault]:
    """Everything wrong with the texts given for a pack's parts, the tokens still in them; in the order of the parts.

    Reasons, in this order for one part: `translation-empty`, `translation-injected` or `translation-length`,
    `translation-span-lost`, `translation-number-changed`, `translation-wrong-language`.

    Args:
        source: the record's language, or None when it is not known.
        target: BCP 47 tag of the language asked for.
    """
    found: list[Fault] = []
    bare = [TOKEN.sub(" ", text).strip() for text in texts]
    languages = identify(bare)
    for at, (part, text) in enumerate(zip(pack, texts, strict=True)):
        if not text:
            found.append(Fault(at + 1, "translation-empty"))
            continue
        original = TOKEN.sub(" ", part.source.text).strip()
        if part.is_request and (sign := _answered(original, bare[at], source, target)):
            found.append(Fault(at + 1, "translation-injected", sign))
        elif fault := _length(original, bare[at]):
            found.append(Fault(at + 1, "translation-length", fault))
        if problems := part.source.problems(text):
            marks = {problem: [f"⟦{n}⟧" for n in numbers] for problem, numbers in problems.items()}
            found.append(Fault(at + 1, "translation-span-lost", marks))
        if lost := lost_numbers(original, bare[at], target):
            found.append(Fault(at + 1, "translation-number-changed", list(lost)))
        identified = (languages["language"][at], languages["confidence"][at])
        if not _is_in(original, bare[at], identified, part.is_request, source, target):
            evidence = {"language": identified[0], "confidence": round(identified[1], 3)}
            found.append(Fault(at + 1, "translation-wrong-language", evidence))
    return found + _echo(pack, bare, found)


def _answered(source: str, text: str, language: str | None, target: str) -> dict[str, Any] | None:
    """The sign that a question or task was answered rather than translated, or None.

    An answer is longer or far shorter than its task, or has lines, code or numbers that the task has not, or is no
    question although the task is one.
    """
    given, asked = weight(text), weight(source)
    if given > LONGEST_REQUEST * asked + SLACK or given < SHORTEST_REQUEST * asked - 4:
        return {"sign": "length", "letters": [round(asked), round(given)]}
    if len(text.splitlines()) > len(source.splitlines()) + 1:
        return {"sign": "more lines", "lines": [len(source.splitlines()), len(text.splitlines())]}
    if protect(text).blocks:
        return {"sign": "code of its own"}
    if added := lost_numbers(text, source, language or UNKNOWN):
        return {"sign": "more numbers", "numbers": list(added)}
    if _QUESTION_MARK.search(source[-3:]) and not _QUESTION_MARK.search(text) and primary(target) not in _UNMARKED:
        return {"sign": "no question any more"}
    return None


def _length(source: str, text: str) -> dict[str, int] | None:
    given, had = weight(text), weight(source)
    if SHORTEST * had - SLACK <= given <= LONGEST * had + SLACK:
        return None
    return {"source_letters": round(had), "letters": round(given)}


def _is_in(
    original: str, text: str, identified: tuple[str, float], is_request: bool, source: str | None, target: str
) -> bool:
    """Whether a translation is written in the target language, as far as can be told.

    A part in a third language that came back unchanged is material of its task (a sentence to be translated) and may
    stay. What lid.176 cannot tell must hold a letter of the target's script, unless it is too short to be judged.
    """
    language, confidence = identified
    wanted = primary(target)
    if text == original and source is not None and primary(source) != wanted and not is_request:
        own = identify([original])["language"][0]
        if own not in (UNKNOWN, primary(source)):
            return True
    if _same(language, wanted):
        return True
    if is_request and (frame := _QUOTED.sub(" ", text)) != text and letters_of(frame, target):
        # A task may quote a sentence in the source's language; what stands around the quotation decides.
        return identify([frame])["language"][0] in (UNKNOWN, wanted)
    if language != UNKNOWN:
        return not is_request and confidence < SURE
    if letters_of(text, target):
        return not is_request or text != original or wanted == primary(source or UNKNOWN)
    letters = sum(map(str.isalpha, text))
    return letters == 0 or (not is_request and letters < MIN_LETTERS)


def wrong_language(text: str, target: str) -> dict[str, Any] | None:
    """Evidence that an answer is not in the target language, or None; code, links and quotations are not read."""
    bare = TOKEN.sub(" ", protect(text).text).strip()
    found = identify([bare])
    language, confidence = found["language"][0], found["confidence"][0]
    if _same(language, primary(target)) or (language == UNKNOWN and letters_of(bare, target)):
        return None
    if not any(c.isalpha() for c in bare) or (language == UNKNOWN and sum(map(str.isalpha, bare)) < MIN_LETTERS):
        return None
    if language != UNKNOWN and confidence < SURE:
        return None
    return {"language": language, "confidence": round(confidence, 3)}


def _same(language: str, wanted: str) -> bool:
    return language == wanted or any(language in group and wanted in group for group in _NEAR)


def _echo(pack: Sequence[Part], texts: Sequence[str], found: Sequence[Fault]) -> list[Fault]:
    """A translated task that is the translated answer over again, though the source's is not."""
    asked = [i for i, part in enumerate(pack) if part.is_request]
    answers = [i for i, part in enumerate(pack) if part.kind == "answer"]
    suspected = {fault.part for fault in found if fault.reason == "translation-injected"}
    echoes = []
    for i in asked:
        if i + 1 in suspected or len(_words(texts[i])) < 4:
            continue
        for j in answers:
            now = _share(texts[i], texts[j])
            before = _share(pack[i].text, pack[j].text)
            if now >= ECHO[0] and before < ECHO[1]:
                evidence = {"sign": "same as the answer", "shared": [round(before, 3), round(now, 3)]}
                echoes.append(Fault(i + 1, "translation-injected", evidence))
                break
    return echoes


def _share(text: str, other: str) -> float:
    """Share of a text's words that the other one has too."""
    words = _words(text)
    return len(words & _words(other)) / len(words) if words else 0.0


def _words(text: str) -> set[str]:
    """Words, and pairs of neighbouring characters where words are not set apart."""
    words: set[str] = set()
    for run in re.findall(
        r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+|[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+", text.lower()
    ):
        words |= (
            {run[i : i + 2] for i in range(max(1, len(run) - 1))} if run[0] > "\u0dff" and run[0] < "\ua000" else {run}
        )
    return words
