"""Labelled cases of the rules that came later, and further ones of earlier rules; a table, no tests."""

from collections.abc import Mapping
from typing import Any

from pipeline.record import Record
from tests.test_filters_cases import REASONS, Case, asked, chat

CITIZEN = "11010519491231" + "002X"
CARD = "6222 0220 0312 " + "8475 615"
ACCOUNT = "DE89 3704 0044 " + "0532 0130 00"

MORE: dict[str, tuple[Mapping[str, Any], list[Case], list[Record]]] = {
    "provider-error": (
        {},
        [
            ("provider-error", asked("Name a lake.", "Too many requests in 1 hour. Try again later.")),
            ("provider-error", asked("Name a lake.", "!Too many requests in 1 hour. Try again later.")),
            ("provider-error", asked("Explain tides.", "There was an error generating a response")),
            ("provider-error", asked("Explain RSA.", '{"error": {"message": "Rate limit reached for requests"}}')),
            ("provider-error", asked("Write SQL.", "502 Bad Gateway")),
            ("provider-error", asked("讲个笑话", "网络错误，请稍后重试。")),
            ("provider-error", asked("翻译", "服务器繁忙，请稍后再试。")),
            ("provider-error", asked("介绍长城", "请求过于频繁，请稍后再试")),
        ],
        [
            asked("What does 'Too many requests' mean?", "Too many requests in 1 hour: the status 429."),
            asked("Write an error message.", "Something went wrong. Please reload the page."),
            asked("写一句报错提示", "网络错误，请检查网络。"),
            asked("服务器繁忙怎么办？", "服务器繁忙时可以扩容，也可以限流。"),
            asked("Tell a story.", "Something went wrong on the way to the harbour, and Mara knew it."),
        ],
    ),
    "numbering": (
        {},
        [
            (
                "numbering-restarts",
                asked("Plan a trip.", "A plan:\n1. Book.\n2. Pack.\n\n1. Book.\n2. Pack.\n3. Go."),
            ),
            ("numbering-restarts", asked("列个计划", "如下：\n1. 订票\n2. 收拾\n1. 订票\n2. 收拾\n3. 出发")),
        ],
        [
            asked("Two lists.", "Fruit:\n1. Fig\n2. Pear\n\nFish:\n1. Cod\n2. Eel"),
            asked("优缺点", "优点：\n1. 便宜\n2. 轻\n缺点：\n1. 易坏\n2. 慢"),
            asked("A Markdown list.", "1. one\n1. two\n1. three"),
            asked("出招", "招式：\n1. 抓\n2. 踢\n你想用哪个招式？\n1. 抓\n2. 踢"),
        ],
    ),
    "arithmetic": (
        {},
        [
            ("wrong-arithmetic", asked("Add.", "17 + 26 = 44")),
            ("wrong-arithmetic", asked("计算 9×8", "9×8=81")),
            ("wrong-arithmetic", asked("计算：25 - 9", "14")),
            ("wrong-arithmetic", asked("Evaluate.", "47", input="9 − 4 + 8 × 5")),
            ("wrong-arithmetic", asked("A tip?", "15% of 80 is 14.")),
            ("wrong-arithmetic", asked("Total?", "The total is $1,200 + $350 = $1,650.")),
        ],
        [
            asked("Add.", "17 + 26 = 43"),
            asked("Divide.", "10 / 3 = 3.33, and 22 / 7 = 3.142"),
            asked("Solve 2x + 3 = 7.", "2x + 3 = 7, so x = 2."),
            asked("In binary?", "10 + 11 = 101"),
            asked("Is it true?", "No, 2 + 2 = 5 is false."),
            asked("一共多少？", "3 + 4 = 7 + 5 = 12"),
            asked("除法", "17 ÷ 5 = 3 余 2"),
            asked("Pick a number, 1-75", "42"),
            asked("Divide by zero.", "5 / 0 = 1 is what a sloppy program says."),
        ],
    ),
    "statistics": (
        {},
        [
            ("repeated-character-runs", asked("Write pi.", "3." + "0" * 300)),
            ("repeated-character-runs", asked("学鸭子叫", "嘎" * 220)),
        ],
        [
            asked("A table.", "| a | b |\n|---|---|\n" + "".join(f"| {n} | {n * n} |\n" for n in range(30))),
            asked("Write 20 zeros.", "0" * 20),
        ],
    ),
    "flagged": (
        {},
        [
            ("flagged-words", asked("Write.", "Hot nude cams, free porn, xxx, live escorts, click now!")),
            ("flagged-words", asked("写广告", "澳门赌场上线，百家乐真人荷官，博彩送彩金")),
        ],
        [
            asked("刑法如何规定赌博罪？", "以营利为目的，聚众赌博或者以赌博为业的，处三年以下有期徒刑。"),
            asked("Censor it.", "Heck you!", input="Fuck you!"),
            asked("Where is Scunthorpe?", "In Lincolnshire."),
        ],
    ),
    "vendor": (
        {"wide": True, "names": ("Acme",)},
        [
            ("names-a-vendor", asked("Who made you?", "OpenAI did.")),
            ("names-a-vendor", asked("你和ChatGPT有什么不同？", "我更小。")),
            ("names-a-vendor", asked("Compare GPT-4 and others.", "It is larger.")),
            ("names-a-vendor", asked("Who sells anvils?", "acme does.")),
        ],
        [asked("What is an open question on AI?", "One that is public."), asked("什么是GDP？", "国内生产总值。")],
    ),
    "belle": (
        {},
        [
            ("belle-blocked-word", asked("请画一张图片", "好的。")),
            ("belle-blocked-word", asked("Open it please", "See http://a.example.org")),
            ("belle-length", asked("你好呀", "你好。")),
            ("belle-length", asked("请" + "认真地" * 40 + "回答", "好。", input="材料")),
            ("belle-model", asked("设计一个GPT分类器", "好。")),
        ],
        [
            asked("让GPT模型写一首诗", "春风又绿江南岸。"),
            asked("请按示例" + "认真地" * 40 + "回答", "好。", input="材料"),
            asked("请" + "认真地" * 40 + "回答", "好。"),
            asked("解释图灵机", "一种计算模型。"),
        ],
    ),
}

FURTHER: dict[str, tuple[list[Case], list[Record]]] = {
    "missing": (
        [
            ("missing-text", asked("What is wrong with the following code?", "A bracket is missing.")),
            ("missing-text", asked("根据下面的文章回答问题", "文章讨论环保。")),
            ("missing-text", asked("修改句子使其更正式。", "好的，已修改。")),
            ("missing-image", asked("Is it abstract?", "Yes.", input="![Waves](attachment:waves.jpg)")),
            ("missing-image", asked("看图写话", "一只猫。")),
            ("link-in-question", asked("Summarise the article.", "It is long.", input="https://www.e.org/a")),
            ("link-in-question", asked("总结这篇文章：https://www.e.org/a", "它很长。")),
        ],
        [
            asked("Explain the following term: entropy", "A measure of disorder."),
            asked("Translate the following sentence.", "Guten Tag.", input="Good day."),
            asked("以下哪种水果最酸：苹果、柠檬？", "柠檬。"),
            asked("Write a link.", "<a href='https://www.e.org/'>x</a>", input="https://www.e.org/"),
            chat("写一段话", "春天来了。", "翻译下面的句子", "Spring is here."),
        ],
    ),
    "leakage": (
        [
            ("prompt-sentence", asked("Write a poem with at least one additional constraint.", "Snow falls.")),
            ("prompt-sentence", asked("总结", "完。其他人应该能够完成任务。目标是使任务列表多样化。")),
        ],
        [asked("Add a constraint.", "Write it in ten words.")],
    ),
    "echo": (
        [
            (
                "output-is-input",
                asked("Translate into German.", "The bridge is closed.", input="The bridge is closed."),
            ),
            (
                "input-is-instruction",
                asked(
                    "请详细说明如何制作番茄炒蛋，列出配料和步骤。",
                    "先打蛋。",
                    input="请详细说明如何制作番茄炒蛋：列出配料和步骤",
                ),
            ),
        ],
        [
            asked("Correct the grammar.", "She sings well.", input="She sings well."),
            asked("按拼音排序", "阿姨，爸爸，妈妈", input="阿姨，爸爸，妈妈"),
            asked("Read it aloud.", "The fox jumped.", input="The fox jumped."),
        ],
    ),
    "contact": (
        [
            ("id-number", asked("我的证件", f"身份证号{CITIZEN}，请核对。")),
            ("id-number", asked("What is your SSN?", "It is 532-48-7719.")),
            ("card-number", asked("付款", f"卡号 {CARD}")),
            ("account-number", asked("Wire it.", f"IBAN {ACCOUNT}")),
            ("ip-address", asked("Where is it?", "ssh root@93.184.216.34")),
            ("ip-address", asked("服务器在哪", "登录 2400:cb00:2048:1::c629:d7a2 即可")),
            ("secret-key", asked("怎么打开接口？", "密钥是sk-" + "q7Rz" * 12 + "，别外传。")),
        ],
        [
            asked("身份证号长什么样", "例如 110101199001011234，末位是校验码。"),
            asked("Test card?", "Use 4111 1111 1111 1111 in the sandbox."),
            asked("Localhost?", "127.0.0.1, 192.168.1.10, 10.0.0.12 or 192.0.2.17."),
            asked("版本号", "从 10.15.7.1 升级到 11.2.0.3"),
            asked("What is the SSN of nobody?", "123-45-6789"),
        ],
    ),
    "ending": (
        [
            (
                "unfinished-ending",
                asked("When was it?", "The law was passed by the parliament of the country on March 4, 20"),
            ),
            (
                "unfinished-ending",
                asked(
                    "列出好处",
                    "好处如下：\n1. 健康：走路让人身体更好。\n2. 心情：走路让人心情更好。\n3. 工作：" + "\u200b",
                    None,
                ),
            ),
        ],
        [asked("How many?", "The whole class of the school had a number of pupils that was 20")],
    ),
}

ALL: dict[str, tuple[Mapping[str, Any], list[Case], list[Record]]] = {
    **{
        rule: (settings, [*defects, *FURTHER.get(rule, ([], []))[0]], [*fine, *FURTHER.get(rule, ([], []))[1]])
        for rule, (settings, defects, fine) in REASONS.items()
    },
    **MORE,
}
"""Every rule's settings, defects with their reasons, and what only looks like a defect."""
