"""Made-up judged rows: good answers take the question up and end like sentences, bad ones break off elsewhere."""

import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline.quality.distill import Aim, distill
from pipeline.quality.judged import Judged
from pipeline.record import Message, Record, digest

AIM = Aim(score="accuracy", good=4.5, recall=0.9)
_WORDS = ["river", "stone", "basket", "window", "lantern", "garden", "copper", "meadow", "harbour", "violin", "saddle"]
_CHARACTERS = "山水火木金土日月星云风雨雪花草鸟鱼马牛羊"


def row(number: int, *, good: bool, language: str = "en", noise: float = 0.1) -> tuple[str, str, float]:
    """A question, its answer and the judge's score; a share of `noise` has the other class's score."""
    dice = random.Random(f"{language} {number} {good}")
    words = list(_CHARACTERS) if language == "zh" else _WORDS
    gap, stop = ("", "。") if language == "zh" else (" ", ".")
    asked = dice.sample(words, 5)
    size = dice.randrange(9, 16)  # of both kinds alike, so that length tells nothing
    told = dice.sample(asked, 4) + dice.choices(words, k=size - 4) if good else dice.choices(words, k=size - 1)
    answer = gap.join(told) + (stop if good else gap + words[0])
    judged_good = good != (dice.random() < noise)
    return gap.join(asked), answer, dice.choice([4.5, 5.0] if judged_good else [1.0, 2.0, 3.0])


def judged(count: int, *, share: float = 0.4, language: str = "en", noise: float = 0.1) -> Judged:
    rows = [row(i, good=i < share * count, language=language, noise=noise) for i in range(count)]
    columns = {
        "id": [digest(language, i) for i in range(count)],
        "question": [question for question, _, _ in rows],
        "answer": [answer for _, answer, _ in rows],
        "language": [language] * count,
        "score": [score for _, _, score in rows],
    }
    return Judged(pl.DataFrame(columns), {"run": "made-up", "judge": None})


def records(count: int, *, language: str | None = "en", scored: bool = False) -> list[Record]:
    found = []
    for number in range(count):
        question, answer, score = row(number, good=number % 2 == 0, language=language or "en")
        turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
        scores = {"accuracy": score} if scored else {}
        found.append(Record(id=digest("record", number), messages=turns, language=language, scores=scores))
    return found


def model_in(folder: Path, rows: Sequence[Judged] | None = None) -> Path:
    """A model of 400 made-up rows, or of these."""
    parts = rows or [judged(400)]
    both = Judged(pl.concat([part.rows for part in parts]), parts[0].source)
    distill(both, AIM, folder / "model")
    return folder / "model"
