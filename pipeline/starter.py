"""The recipe that `seedmill init` writes for somebody's own seeds: commented, complete, ready to run."""

import os
from pathlib import Path

_HEAD = """\
# A recipe: entries in order, each reading what the one before it kept. Made for {seeds}.
# Look at the prompts first:   seedmill preview {path} self-instruct
# Try it at no cost:           seedmill run {path} --rehearse
# Run it (and run it again after a change: finished calls are never paid twice):
#                              seedmill run {path}
name: {name}
seed: 1

# The model is taken from LLM_BASE_URL, LLM_MODEL and LLM_API_KEY (or OPENAI_API_KEY), which may stand in a file .env.
# A second model can judge:
# models:
#   judge: {{base_url: https://api.openai.com/v1, model: gpt-4.1, api_key_env: OPENAI_API_KEY}}

entries:
  - stage: read
    seeds: [{seeds_setting}]
    language: {language}
    # license: cc-by-4.0      # of your seeds; what is made of them carries it, beside the model's own terms

  # New tasks in the manner of yours; one too like an earlier one (ROUGE-L F1 > 0.7) drops before it costs more.
  - stage: self-instruct
    language: {language}
    target: 200               # complete records to make
    mode: joint               # joint: task, input and answer in one call; two-step: better answers, more calls
    preset: auto              # rules for instructions: alpaca for English, belle for Chinese

  # Each task made harder or rarer; keep: all keeps the original beside its evolved child.
  - stage: evol-instruct
    language: {language}
    rounds: 1
    keep: all
"""

_TRANSLATE = """
  - stage: translate
    to: {to}
    mode: regenerate          # the question is translated, the answer made anew in {to}; or: translate
"""

_TAIL = """
  # Answers for records that still lack one.
  - stage: answer

  # Mend what can be mended, then drop what cannot, with reason and evidence: seedmill show {name} filter --drops
  - stage: fix
  - stage: filter
    # custom:
    #   - {{reason: too-chatty, field: output, regex: "(?i)^(sure|certainly)[!,]"}}
    #   - {{reason: long-answer, sql: "length(output) > 4000"}}

  - stage: dedup
    threshold: 0.7

  # A judge gives every answer 0 to 5; prune keeps the good ones.
  - stage: score
    dimension: accuracy
    language: {language}
  - stage: prune
    score: accuracy
    threshold: 4.5

export:
  formats: [alpaca, sharegpt, messages, parquet]
  # split: {{validation: 0.05}}    # near-duplicates, translations and evolved tasks are never parted

# What must be true of the rows, or the run fails (docs/publishing.md has all of them):
# expect:
#   rows: {{min: 100}}
#   duplicates: {{max: 0.01}}
#   scores: {{accuracy: {{min: 4.5}}}}
"""


def starter_recipe(seeds: Path, folder: Path, language: str, translate_to: str | None) -> str:
    """Text of a recipe in `folder` that starts from the seed file `seeds`.

    Args:
        seeds: the seed file; written relative to the recipe, so that both can be moved together.
        folder: where the recipe will stand.
        language: language of the seeds and of what is made (`en` or `zh`).
        translate_to: adds a translate entry into that language.
    """
    path = folder / "recipe.yaml"
    name = folder.resolve().name
    values = {
        "seeds": seeds.name,
        "path": path,
        "name": "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name) or "run",
        "seeds_setting": f'"{Path(os.path.relpath(seeds.resolve(), folder.resolve())).as_posix()}"',
        "language": language,
        "to": translate_to,
    }
    parts = [_HEAD, _TRANSLATE if translate_to else "", _TAIL]
    return "".join(part.format(**values) for part in parts)
