"""Words of the generating prompt that got into the data."""

import polars as pl

from filters.check import Check, any_of, asks, matching

CHAT_TOKENS = any_of(
    r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|system|user|assistant|end|"
    r"endofprompt|begin▁of▁sentence|end▁of▁sentence)\|>",
    r"<｜[^｜\n]{1,40}｜>",
    r"\[/?INST\]",
    r"<</?SYS>>",
    r"<(?:start|end)_of_turn>",
    r"\[\|(?:Human|AI|User|Assistant)\|\]",
    r"<e(?:oh|om|ot|oc|or)>",
)

SECTIONS = any_of(
    r"(?:^|\n)#{2,4} ?(?:Instruction|Response|Human|Assistant|User)\s*:",
    r"(?:^|\n)#{2,4} ?(?:指令|回答|回复|用户|助手|人类)\s*[:：]",
)
"""Headings of training templates. "### Instructions" of a recipe and "### Input" of a puzzle are not among them."""

NO_INPUT = r"(?i)<\s?no ?(?:in|out)put\s?>|[<（(]无(?:输入|输出)[>）)]"

PROMPT_SENTENCES = "(?i)" + any_of(
    r"\bat least one additional (?:constraint|requirement)",
    r"^\W*(?:sure[,!.]?\s+)?here(?:'|’)?s an? (?:new |rewritten |more complex |harder )?(?:version of the )?prompt\b",
    r"\b(?:others|other people|someone else) should be able to complete the task",
    r"\bdiverse tasks? (?:to|for) (?:challenge|evaluating?) (?:the |a )?gpt",
    r"目标是使任务列表多样化|(?:挑战|评估)\s?GPT\s?模型(?:的多样性)?[。\n]",
)
"""Sentences that only a generating or evolving prompt says."""

_SENTENCE_HINTS = (
    "additional",
    "a prompt",
    "version of the prompt",
    "prompt",
    "complete the task",
    "diverse task",
    "GPT",
    "多样化",
)

REWRITING = "(?i)" + any_of(
    r"#\s*(?:the )?(?:given|rewritten|created|new|original) (?:prompt|instruction)s?\s*#",
    r"(?:^|\n)\W{0,4}(?:the )?(?:rewritten|created|evolved) (?:prompt|instruction)\W{0,4}[:：]",
    r"(?:^|\n)\W{0,4}(?:改写|重写|进化|演化|改编|生成)后?的(?:提示词?|指令|题目)\W{0,4}[:：]",
    r"[#＃【]\s*(?:给定|原始|改写后?的?|新)的?(?:提示词?|指令)\s*[#＃】]",
)

LABELLED_INSTRUCTION = any_of(
    r"^\W{0,4}(?:\d{1,2}[.、]\s*)?(?:Instruction|Task description)\s*\d*:\s",
    r"^\W{0,4}(?:\d{1,2}[.、]\s*)?指令\s*\d*[:：]",
)

LABELLED_FIELDS = any_of(
    r"(?s)(?:^|\n)\W{0,4}(?:\d{1,2}\. ?)?Instruction\s*\d*:.*\n\W{0,4}(?:\d{1,2}\. ?)?(?:Input|Output|Response)\s*\d*:",
    r"(?s)(?:^|\n)\W{0,4}(?:\d{1,2}[.、] ?)?指令\s*\d*[:：].*\n\W{0,4}(?:\d{1,2}[.、] ?)?(?:输入|输出|回答)\s*\d*[:：]",
)

_ON_TOPIC = r"(?i)instruction|prompt|template|fine-?tun|dataset|token|chatml|gpt|llama|指令|提示|模板|微调|数据集|标记"


def leakage() -> tuple[Check, ...]:
    """Object to markers of prompts and chat templates: section headings, field labels, chat tokens, `<noinput>`.

    Left alone are turns whose question is about prompts, templates or tokens, and answers that hold fenced code. The
    rewriting markers are those which WizardLM bans from its own results (elimination rule 4).
    """
    code = pl.col("output").str.contains("```")
    other = ~(asks(_ON_TOPIC) | code)
    return (
        matching("chat-token", "output", CHAT_TOKENS, given=other),
        matching("chat-token", "instruction", CHAT_TOKENS, given=~asks(_ON_TOPIC)),
        matching("prompt-marker", "output", REWRITING, given=other),
        matching("prompt-marker", "instruction", REWRITING),
        matching("prompt-marker", "instruction", LABELLED_INSTRUCTION),
        matching("prompt-marker", "output", SECTIONS, given=other),
        matching("prompt-marker", "output", LABELLED_FIELDS, given=other),
        matching("prompt-marker", "output", NO_INPUT, given=~(code | asks(NO_INPUT))),
        matching("prompt-marker", "instruction", NO_INPUT),
        matching("prompt-sentence", "output", PROMPT_SENTENCES, given=other, hints=_SENTENCE_HINTS),
        matching("prompt-sentence", "instruction", PROMPT_SENTENCES, hints=_SENTENCE_HINTS),
    )
