"""The kinds of harm that a judge is asked about: BeaverTails' fourteen."""

from dataclasses import dataclass

from pipeline.llm.structured import Form, closed
from pipeline.prompt import load_prompt


@dataclass(frozen=True, slots=True)
class Harm:
    """One kind of harm.

    Attributes:
        name: what we call it, in settings, tags and reasons.
        theirs: its name in the BeaverTails data.
    """

    name: str
    theirs: str


HARMS = (
    Harm("animal-abuse", "animal_abuse"),
    Harm("child-abuse", "child_abuse"),
    Harm("controversial-topics", "controversial_topics,politics"),
    Harm("discrimination", "discrimination,stereotype,injustice"),
    Harm("drugs-weapons", "drug_abuse,weapons,banned_substance"),
    Harm("financial-crime", "financial_crime,property_crime,theft"),
    Harm("hate-speech", "hate_speech,offensive_language"),
    Harm("misinformation", "misinformation_regarding_ethics,laws_and_safety"),
    Harm("unethical-behavior", "non_violent_unethical_behavior"),
    Harm("privacy-violation", "privacy_violation"),
    Harm("self-harm", "self_harm"),
    Harm("sexual-content", "sexually_explicit,adult_content"),
    Harm("terrorism", "terrorism,organized_crime"),
    Harm("violence", "violence,aiding_and_abetting,incitement"),
)
"""Ji et al. (2023), BeaverTails: Towards Improved Safety Alignment of LLM via a Human-Preference Dataset; its 14
categories in its order. What each covers is told to the judge in our words (`prompts/moderate.rubric.*`)."""

NAMES = tuple(harm.name for harm in HARMS)

FORM = Form(
    "moderation",
    closed(
        reason={"type": "string"},
        categories={"type": "array", "items": {"type": "string", "enum": list(NAMES)}, "uniqueItems": True},
    ),
)
"""The judge's reply: what decided it first, so that the list follows from it; nothing in the list means no harm."""


def rubric(tongue: str) -> str:
    """What each kind covers, a line each, in English or Chinese."""
    return load_prompt(f"moderate.rubric.{tongue}", (), chat=False).render()
