"""Each rule objects to its defects in English and Chinese, and to nothing that only looks like them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from filters import FILTERS, PRESETS
from pipeline.record import Message, Record
from pipeline.stages.filter import Filter
from tests.doubles import run_rows

Case = tuple[str, Record]


def asked(instruction: str, output: str, input: str | None = None, tools: str | None = None) -> Record:
    return Record(
        id="",
        messages=(Message(role="user", content=instruction), Message(role="assistant", content=output)),
        input=input,
        tools=tools,
    )


def chat(*turns: str, roles: Sequence[str] = ("user", "assistant"), **fields: Any) -> Record:
    cycle = [roles[i % len(roles)] for i in range(len(turns))]
    return Record(id="", messages=tuple(Message(role=r, content=t) for r, t in zip(cycle, turns, strict=True)), **fields)


def answer(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


CALL = Message(role="assistant", content="", tool_calls='[{"function":{"name":"weather","arguments":"{}"}}]')
RESULT = Message(role="tool", content='{"celsius": 21}')
ASK_WEATHER = Message(role="user", content="What is the weather in Lyon today?")

GOOD: list[Record] = [
    asked("Is 17 a prime number?", "Yes"),
    asked("What is 6 times 7?", "42"),
    asked("法国的首都是哪里？", "巴黎"),
    asked("Which operator joins two strings in Python?", "+"),
    asked("Translate to French.", "Bonjour", input="Hello"),
    asked("Name the correlation, or say none.", "None.", input="days of the week and hours of sleep"),
    asked("Hello", "Hello"),
    asked("你好", "你好"),
    asked("Reverse the list.", "[3, 2, 1]", input="[1, 2, 3]"),
    asked("Which HTML tag plays a film?", "<video>"),
    asked("用 Markdown 写一个标题", "# 春天"),
    asked("What does N/A mean in a form?", "N/A"),
    asked("List three lists' names as JSON.", '["photo", "video", "file"]'),
    asked("按大小排序", "蚂蚁，兔子，大象", input="[大象, 蚂蚁, 兔子]"),
    asked("推荐一本书", "《平凡的世界》，路遥著。"),
]
"""Short and odd answers that are right; the whole default preset must leave them alone."""

REASONS: dict[str, tuple[Mapping[str, Any], list[Case], list[Record]]] = {
    "roles": (
        {},
        [
            ("wrong_role_order", chat("Hi", "Hello?", "Hi", roles=("user", "user", "assistant"))),
            ("wrong_role_order", chat("Hello, how can I help?", "Tell me a joke", roles=("assistant", "user"))),
            ("wrong_role_order", chat("讲个笑话", "好的。", "从前有座山。", roles=("user", "assistant", "assistant"))),
            ("wrong_role_order", chat("hi", "hello", "be kind", roles=("user", "assistant", "system"))),
            ("wrong_role_order", Record(id="", messages=(ASK_WEATHER, RESULT, *answer("21 degrees.")))),
            ("wrong_role_order", Record(id="")),
        ],
        [
            chat("你是老师", "什么是光合作用？", "植物用光制造养分。", roles=("system", "user", "assistant")),
            Record(id="", messages=(ASK_WEATHER, CALL, RESULT, RESULT, CALL, RESULT, *answer("21 degrees."))),
            Record(id="", messages=(ASK_WEATHER, CALL), tools="[]"),
            chat("Hi", "Hello", "Recommend a book", chosen=answer("Middlemarch."), rejected=answer("No."), roles=("user", "assistant")),
        ],
    ),
    "empty": (
        {},
        [
            ("empty_output", asked("Calculate 20% of 200.", "")),
            ("empty_output", asked("计算总和", " \n\u200b")),
            ("empty_output", chat("Name a colour.")),
            ("empty_output", chat("讲个故事", "从前有座山。", "继续", "")),
            ("empty_output", chat("Name a fruit.", "", "Another.", "Pear.")),
            ("empty_output", chat("Pick one", chosen=answer(""), rejected=answer("A"))),
            ("empty_instruction", asked("  ", "You chose the left door.")),
            ("empty_instruction", asked("\u200b", "当然可以。")),
        ],
        [
            Record(id="", messages=(ASK_WEATHER, CALL), tools="[]"),
            Record(id="", messages=(ASK_WEATHER, CALL, RESULT, *answer("It is 21 °C."))),
            chat("选一个", chosen=answer("乙"), rejected=answer("")),
            asked("", "Four.", input="How many legs has a dog?"),
        ],
    ),
    "placeholder": (
        {},
        [
            ("placeholder_output", asked("Design a logo for a bakery.", "<nooutput>")),
            ("placeholder_output", asked("Record a melody.", "<No output, this needs audio>")),
            ("placeholder_output", asked("Write a sorting algorithm.", "N/A")),
            ("placeholder_output", asked("Draw the flow of an order.", "[Flow chart image]")),
            ("placeholder_output", asked("Make slides on climate change.", "<Insert presentation>")),
            ("placeholder_output", asked("画一幅山水画", "[图画]")),
            ("placeholder_output", asked("设计一张海报", "【海报图片】")),
            ("placeholder_output", asked("编写算法", "不适用")),
            ("placeholder_input", asked("Summarise the article.", "It is about trade.", input="[Link to an article]")),
            ("placeholder_input", asked("Describe the photo.", "A calm lake.", input="<Photo attached>")),
            ("placeholder_input", asked("Fix the grammar.", "It is fine.", input="<text>")),
            ("placeholder_input", asked("总结下面的内容", "本文讨论环保。", input="<一段文本>")),
            ("placeholder_input", asked("给文章起标题", "科技之光", input="[文章链接]")),
        ],
        [
            asked("Tag the noun phrases.", "NP", input="(the old man)"),
            asked("Simplify.", "A && B", input="(A and B) or (A and B)"),
            asked("Which of these is living?", "dog", input="[dog, table, email]"),
            asked("Fill in the template.", "swift_otter", input="{adjective}_{animal}"),
            asked("翻译书名", "The Story of the Stone", input="《石头记》"),
            asked("If nothing fits, answer N/A. Which US state starts with B?", "N/A"),
            asked("What does [photo] stand for?", "It marks where a picture goes: replace [photo] with your own."),
        ],
    ),
    "merged": (
        {},
        [
            ("merged_records", asked("Name a mountain.", "Kilimanjaro.\n##\n6. Instruction: Write a note.\n6. Input:\n<noinput>")),
            ("merged_records", asked("Why is the sky blue?", "Scattering. 14. Instruction: List three fruits.")),
            ("merged_records", asked("介绍长城", "长城很长。\n###\n5. 指令：写一首诗\n5. 输入：\n<无输入>")),
            ("merged_records", asked("概括文章", "鲸鱼很大。\n\n6. 说明：创建目录。\n6.输入：\n无\n6.输出：\n目录")),
        ],
        [
            asked("How do I bake bread?", "Ingredients: flour.\nInstructions:\n1. Mix.\n2. Bake."),
            asked("怎么安装？", "1. 说明：先关电源。\n2. 说明：再拧螺丝。"),
            asked("写一份清单", "10. 指令集：ARM 与 x86 不同。"),
        ],
    ),
    "leakage": (
        {},
        [
            ("chat_token", asked("Name a colour.", "Red<|im_end|>\n<|im_start|>user\nAnother?")),
            ("chat_token", asked("介绍你的家乡", "[INST] 再写一遍 [/INST] 我的家乡在江南。")),
            ("chat_token", asked("<|user|> Name a bird", "A heron.")),
            ("prompt_marker", asked("Name a colour.", "Red.\n### Instruction:\nName another.")),
            ("prompt_marker", asked("说一种颜色", "红色。\n### 指令：再说一种")),
            ("prompt_marker", asked("#Rewritten Prompt#: Explain tides to a sailor", "Tides follow the moon.")),
            ("prompt_marker", asked("改写后的指令：向水手解释潮汐", "潮汐随月亮而变。")),
            ("prompt_marker", asked("Instruction: Name a river", "The Nile.")),
            ("prompt_marker", asked("指令：说出一条河", "长江。")),
            ("prompt_marker", asked("Why do birds sing?", "To call.\nInstruction: Name a fish.\nInput: none\nOutput: Carp")),
            ("prompt_marker", asked("鸟为什么叫？", "求偶。\n指令：说一种鱼\n输入：无\n输出：鲤鱼")),
            ("prompt_marker", asked("Illustrate the text.", "<noinput>\nA GPT model cannot draw.", input="A fox runs.")),
            ("prompt_marker", asked("画画", "<无输出> 无法完成")),
        ],
        [
            asked("Show me the Alpaca prompt template.", "### Instruction:\n{instruction}\n\n### Response:"),
            asked("Make a pancake recipe.", "### Ingredients\nEggs, flour\n\n### Instructions:\n1. Whisk.\n2. Fry."),
            asked("What does this print?", "Input: 3\nOutput: 9", input="print(3 ** 2)"),
            asked("什么是机器指令？", "指令：告诉处理器做什么的一个编码。"),
            asked("How does ChatML mark a turn?", "A turn starts with <|im_start|> and ends with <|im_end|>."),
            asked("Rewrite the prompt: 'dog story'", "Tell a story in which a dog finds its way home."),
            asked("Explain the marker.", "Write <noinput> when there is nothing.", input="We put <noinput> in the field."),
        ],
    ),
    "echo": (
        {},
        [
            ("output_is_input", asked("Rank by age.", "Ann, Bob, Cid", input="Ann, Bob, Cid")),
            ("output_is_input", asked("将句子改得更生动", "我喜欢听音乐。", input="我喜欢听音乐。")),
            ("output_is_instruction", asked("Create a looping picture of a cat.", "Create a looping picture of a cat.")),
            ("output_is_instruction", asked("制定用户界面的详细设计计划。", " 制定用户界面的详细设计计划。\n")),
            ("input_is_instruction", asked("Explain how tides work.", "The moon pulls.", input="Explain how tides work.")),
            ("input_is_instruction", asked("请详细描述西红柿炒蛋的做法。", "先打蛋。", input="请详细描述西红柿炒蛋的做法。")),
            ("chosen_is_rejected", chat("Best city?", chosen=answer("Lyon."), rejected=answer("Lyon."))),
            ("chosen_is_rejected", chat("哪座城市最好？", chosen=answer("成都。"), rejected=answer("成都。"))),
        ],
        [
            asked("Change to upper case.", "I LOVE TEA", input="i love tea"),
            asked("你好吗？", "你好吗？"),
            chat("Best city?", chosen=answer("Lyon."), rejected=answer("Lyon")),
        ],
    ),
    "missing": (
        {"url": True},
        [
            ("image_in_question", asked("Describe it.", "A pier.", input="![alt](https://i.example.org/a.png)")),
            ("image_in_question", asked("Which bird?", "An egret.", input='<img src="https://i.example.org/b.jpg">')),
            ("image_in_question", asked("描述照片", "一辆车。", input="<image: https://images.example.org/1.jpg>")),
            ("image_in_answer", asked("Design a logo.", "![Logo](https://i.example.org/logo.png)")),
            ("image_in_answer", asked("给鞋店设计标志", "好的：\n![标志](http://i.example.org/feA1.png)")),
            ("missing_image", asked("Write a caption for the following photo.", "Out again!")),
            ("missing_image", asked("Identify the animal in the picture.", "A heron.")),
            ("missing_image", asked("为下面的照片写一个标题。", "海边的早晨")),
            ("missing_image", asked("解释这幅漫画。", "它讽刺拖延。")),
            ("missing_attachment", asked("Summarise the attached report.", "Sales grew.")),
            ("missing_attachment", asked("请根据附件写一份总结。", "销售增长。")),
            ("missing_figure", asked("How do valves work?", "They open one way, as shown in the figure below.")),
            ("missing_figure", asked("水泵怎么工作？", "如下图所示，叶轮带动水流。")),
            ("invented_url", asked("Where can I learn chess?", "See https://www.chess-lessons.example/start.")),
            ("invented_url", asked("哪里可以学棋？", "请访问 https://qi.example.cn/a。")),
        ],
        [
            asked("Close the tags.", "<b></b>", input='<b><img src="a.png">'),
            asked("Write a pod file.", "spec:\n  containers:\n  - image: nginx"),
            asked("How do I embed a picture in Markdown?", "Use `![alt](https://example.org/a.png)`."),
            asked('Describe the painting "Nighthawks".', "A diner at night."),
            asked("Describe the following painting.", "A diner at night.", input="Nighthawks by Edward Hopper"),
            asked("Explain preferential attachment.", "Nodes with many links gain more."),
            asked("将句子改为主动语态：艺术家创作了这幅画。", "艺术家创作了它。"),
            asked("What does Figure 2 show?", "As shown in Figure 2, prices rise.", input="Figure 2: prices 1, 2, 3"),
            asked("Which site is it?", "It is https://www.example.org/ indeed.", input="https://www.example.org/"),
            chat("Draw a house in ASCII.", " /\\\n|__|", "Make the picture above larger.", "  /\\\n /  \\\n|____|"),
        ],
    ),
    "refusal": (
        {},
        [
            ("refusal", asked("Play Despacito on the keyboard.", "I'm sorry, but I can't assist with that.")),
            ("refusal", asked("Set up a reminder for 8 am tomorrow?", "I cannot set up a reminder for 8 am tomorrow.")),
            ("refusal", asked("Make a pie chart.", "Sorry, the task involves visual output. We cannot complete this with a GPT model.")),
            ("refusal", asked("Build a website.", "N/A (GPT model cannot take any action)")),
            ("refusal", asked("打开这个网页", "抱歉，我无法浏览互联网。")),
            ("refusal", asked("画一张图", "我无法生成图片，因为没有这个功能。")),
            ("refusal", asked("编译程序", "GPT模型无法完成此类指令。")),
            ("ai_self_talk", asked("Write about your last weekend.", "As an AI language model, I do not have weekends.")),
            ("ai_self_talk", asked("Who won the 2030 cup?", "As of my last update, it had not been played.")),
            ("ai_self_talk", asked("描述一次难忘的经历。", "作为一个人工智能助手，我没有亲身经历。")),
            ("ai_self_talk", asked("预测明天的股价", "我是由OpenAI训练的大型语言模型，不能预测。")),
            ("ai_self_talk", chat("讲个笑话", "好的，从前有座山。", "再讲一个", "作为一款AI语言模型，我没有幽默感。", "谢谢", "不客气！")),
            ("asks_for_input", asked("Summarise the article.", "I'm sorry, but you didn't provide the article.")),
            ("asks_for_input", asked("Edit the text.", "Please provide the text so that I can edit it.")),
            ("asks_for_input", asked("将给定的文本分类", "很抱歉，您没有提供文本。请您提供一段文本。")),
            ("asks_for_input", asked("修改句子", "请提供你想要修改的句子，这样我才能改写它。")),
        ],
        [
            asked("Write a script with a chatbot.", "User: Hi!\nAI: As an AI, I am happy to help."),
            asked("How do models talk of themselves?", 'Many begin with "As an AI language model, I cannot ...", which readers dislike.'),
            asked("Introduce yourself.", "As a language model, I go by the name Vicuna."),
            asked("你是谁？", "作为一个人工智能助手，我可以回答问题。"),
            asked("Apologise to a customer.", "I'm sorry, I cannot express how much we regret the delay."),
            asked("Write a supportive reply.", "I'm sorry to hear that. Is there anything I can do?"),
            asked("写一封道歉信", "非常抱歉，我不能按时交货。"),
            asked("Rewrite politely: 'Give me the book'", "Could you please give me the book?"),
            asked("Explain dark matter.", "It is matter that we cannot see directly."),
            asked("Why is sorry hard to say?", "Because it admits a fault. I cannot stress this enough."),
            asked("Can you order a pizza for me?", "I'm sorry, but I can't order food.", tools='[{"name": "calendar"}]'),
            chat("Edit my text.", "Please provide the text so that I can edit it.", "I has a dog.", "I have a dog."),
            asked("人工智能是什么？", "作为一门学科，人工智能研究智能行为。"),
        ],
    ),
    "repetition": (
        {},
        [
            ("repeated_sentences", asked("Tell a story.", "The fox ran to the river and drank. " * 12)),
            ("repeated_sentences", asked("讲个故事", "从前有一座很高的山和一座庙。" * 20)),
            ("repeated_words", asked("Describe joy.", "and then we smiled and laughed " * 40)),
            ("repeated_characters", asked("形容快乐", "我们笑着跳着唱着跑着，" * 40)),
        ],
        [
            asked("Write code.", "x = 1;\n" * 60),
            asked("Make a table.", "| room | free |\n" * 30),
            asked(
                "写一首歌，副歌重复",
                "夏天的风吹过窗前的老槐树\n" * 3 + "我在等你从海边回来的消息\n" * 3
                + "".join(f"第{n}个夜晚，{w}落在我肩上\n" for n, w in zip("一二三四五六", "星雨雪花月光", strict=True)),
            ),
            asked("List the times table of 7.", "\n".join(f"7 times {n} makes {7 * n}" for n in range(1, 30))),
            asked("Plan a workout.", "\n".join(f"{n}. 30 seconds of {m}\n{n + 1}. Rest for ten seconds" for n, m in
                  enumerate(["jumping jacks", "push-ups", "squats", "lunges", "planks", "burpees", "crunches", "sprints"]))),
        ],
    ),
    "ending": (
        {},
        [
            ("unfinished_ending", asked(
                "Describe Biden's win.",
                "Joe Biden won the election of 3 November. He received 306 electoral votes, and turnout was the highest in "
                "more than a century. The result was contested in several courts without success. He was certified as the "
                "winner on 14 December 20",
            )),
            ("unfinished_ending", asked("Work out the sum.", "The numerical value of the equation is")),
            ("unfinished_ending", asked(
                "介绍梅西的成就",
                "梅西是历史上最伟大的足球运动员之一，出生于阿根廷罗萨里奥。" * 2
                + "他十次获得西甲冠军，七次获得国王杯冠军，四次获得欧冠冠军。他多次获得金球奖，并带领国家队夺得世界杯冠军。"
                + "他的职业生涯还包括许多纪录，例如单赛季进球纪录，以及连续多年的最佳射手称号。值得一提的是，他曾两次赢得西甲和国王杯以及",
            )),
            ("unfinished_ending", asked("列出音乐元素", "爵士乐有许多元素，演奏者的技巧各有独特的风格，")),
            ("unclosed_code", asked("Write a loop.", "Here it is:\n```python\nfor i in range(3):\n    print(i)\n")),
            ("unclosed_code", asked("写一个循环", "代码如下：\n```\nfor i in range(3):\n    pri")),
        ],
        [
            asked("List fruit.", "1. Apples that keep well in winter\n2. Pears\n3. Plums from the old garden by the river"),
            asked("Write a haiku.", "Golden sun shines bright\nSeagulls soaring in the sky\nPeaceful waves rolling in"),
            asked("Write a letter.", "Dear Ann,\n\nThank you for the book. I read it in one night. It made me laugh a great deal, "
                  "and I lent it to my brother, who liked it as well. I hope that you will visit us in spring and stay for "
                  "as long as you can.\n\nSincerely,\nYour friend Bob"),
            asked("写一首诗", "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡"),
            asked("Give the SQL.", "SELECT name FROM customers WHERE city = 'Lyon' ORDER BY name, and so on for every table that you "
                  "have. It is short. The condition may be longer. Indexes help; see the manual of your database for the"),
            asked("Write a tweet.", "We made it. Ten thousand readers came along in a single year, and every one of you helped us to get "
                  "here. Thank you for the letters, the corrections and the patience that you showed us. #thankyou"),
            chat("讲个长故事", "从前有个人，他走到森林里，", "继续", "遇到了一只会说话的狐狸。"),
            asked("Show a block.", "```\na = 1\n```"),
        ],
    ),
    "length": (
        {"min_words": 3, "max_words": 12, "max_chars": 60, "min_chars": 4},
        [
            ("too_short_output", asked("Is it prime?", "Yes it")),
            ("too_short_output", asked("是质数吗？", "是")),
            ("too_long_output", asked("Count.", "one two three four five six seven eight nine ten eleven twelve thirteen")),
            ("too_long_output", asked("解释", "机器学习是人工智能的一个重要分支，研究如何让计算机从数据中自动学习规律并改进性能。")),
            ("too_long_output", asked("Spell it.", "a" * 61 + " b c")),
        ],
        [
            asked("Count.", "one two three"),
            asked("解释", "机器学习研究规律"),
            Record(id="", messages=(ASK_WEATHER, CALL), tools="[]"),
        ],
    ),
    "language": (
        {"allow": ("en", "zh-Hans")},
        [
            ("unwanted_language", asked("Wie funktioniert ein Kühlschrank?", "Ein Kältemittel entzieht dem Innenraum Wärme.")),
            ("unwanted_language", asked("富士山の高さは？", "富士山の高さは三千七百七十六メートルです。")),
            ("answer_in_another_language", asked("列出四张著名的摇滚专辑。", "Here is a list of four famous rock albums for you to enjoy.")),
            ("answer_in_another_language", asked("How do I keep bread fresh for longer?", "把面包放进密封的袋子里，放在阴凉干燥的地方。")),
        ],
        [
            asked("把这句话翻译成英文：我喜欢读书。", "I like reading books very much indeed."),
            asked("用 shimmer 造一个句子。", "The shimmer of the horizon held us all evening."),
            asked("写一个求和函数", "def total(numbers):\n    return sum(numbers)"),
            asked("OK?", "好的。"),
            asked("42", "42"),
        ],
    ),
    "contact": (
        {},
        [
            ("email_address", asked("Who do I ask?", "Write to maria.lopes@ufmg.br for the forms.")),
            ("email_address", asked("怎么联系你们？", "请发邮件到 zhangwei88@163.com。")),
            ("phone_number", asked("Which number?", "Call (212) 684-4700 before noon.")),
            ("phone_number", asked("你的电话？", "我的手机是13912345670，随时联系。")),
            ("phone_number", asked("前台电话", "请拨打 010-62781234 转三。")),
            ("secret_key", asked("Call the API.", "curl -H 'Authorization: Bearer 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'")),
            ("secret_key", asked("配置", "AWS_ACCESS_KEY_ID=AKIAZ5ERTUIO7NBVCX2Q")),
        ],
        [
            asked("Who do I ask?", "Write to info@example.com or call 555-0100."),
            asked("Clone it.", "git clone git@github.com:someone/thing.git"),
            asked("Format the number.", "(123) 456-7890"),
            asked("圆周率", "3.14159265358979323846"),
            asked("订单号是多少？", "订单号是 202311139123456789。"),
            asked("How do keys look?", "They look like sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx or AKIAIOSFODNN7EXAMPLE."),
        ],
    ),
    "alpaca": (
        {},
        [
            ("alpaca_length", asked("Name a river", "Nile")),
            ("alpaca_length", asked("word " * 151, "Yes")),
            ("alpaca_blocked_word", asked("Describe the picture on the wall.", "A ship.")),
            ("alpaca_blocked_word", asked("Tell me how to GO TO Lyon.", "By train.")),
            ("alpaca_program", asked("Write a program that sorts numbers.", "sorted(x)")),
            ("alpaca_start", asked("[x] Explain what this is.", "A box.")),
            ("alpaca_start", asked("解释 一下 什么 是 潮汐", "海水涨落。")),
        ],
        [
            asked("Write programs that sort numbers.", "sorted(x)"),
            asked("Profile a mapmaker you admire.", "Mercator."),
            asked("Explain what filing is.", "Smoothing with a file."),
        ],
    ),
}


def verdicts(records: Sequence[Record], **settings: Any) -> list[str | None]:
    """Reason of each record, None when kept."""
    numbered = [Record(**{f: getattr(r, f) for f in Record.__slots__} | {"id": str(i)}) for i, r in enumerate(records)]
    outcome = run_rows(Filter(**settings), numbered)
    reasons = dict(outcome.drops.select("id", "reason").iter_rows())
    assert len(reasons) + outcome.kept.height == len(records)
    return [reasons.get(str(i)) for i in range(len(records))]


def shown(record: Record) -> str:
    return " / ".join(f"{m.role}: {m.content[:60]}" for m in record.messages) + f" / {record.input}"


@pytest.mark.parametrize("rule", REASONS)
def test_objections(rule: str) -> None:
    settings, defects, fine = REASONS[rule]
    records = [record for _, record in defects] + fine + GOOD * (rule not in ("alpaca", "length"))
    expected = [reason for reason, _ in defects] + [None] * (len(records) - len(defects))
    found = verdicts(records, rules={rule: dict(settings)})
    wrong = [(shown(r), f"expected {e}", f"found {f}") for r, e, f in zip(records, expected, found, strict=True) if e != f]
    assert not wrong


def test_what_only_looks_like_a_defect_survives_every_default_rule() -> None:
    tempting = [r for rule, (_, _, fine) in REASONS.items() for r in fine if rule in PRESETS["clean"] and rule != "length"]
    records = GOOD + tempting
    assert [(shown(r), reason) for r, reason in zip(records, verdicts(records), strict=True) if reason] == []


def test_every_reason_has_a_case() -> None:
    everything: dict[str, dict[str, Any]] = {name: {} for name in FILTERS}
    everything |= {"missing": {"url": True}, "language": {"allow": ("en",)}}
    everything["length"] = {"min_words": 1, "max_words": 2, "min_chars": 1, "max_chars": 2}
    reasons = {check.reason for name, settings in everything.items() for check in FILTERS[name](**settings)}
    covered = {reason for _, defects, _ in REASONS.values() for reason, _ in defects}
    assert reasons == covered
    assert set(REASONS) == set(FILTERS)


def test_every_rule_has_cases_in_both_languages() -> None:
    for rule, (_, defects, _) in REASONS.items():
        texts = ["".join(m.content for m in r.messages) + (r.input or "") for _, r in defects]
        chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in text) for text in texts)
        assert 0 < chinese < len(texts), rule


@pytest.mark.parametrize("field", ["instruction", "input", "output", "text"])
def test_each_field_can_be_measured(field: str) -> None:
    record = asked("one two", "one two three four", input="one")
    sizes = {"instruction": 7, "input": 3, "output": 18, "text": 30}
    assert verdicts([record], rules={"length": {"field": field, "max_chars": sizes[field]}}) == [None]
    assert verdicts([record], rules={"length": {"field": field, "max_chars": sizes[field] - 1}}) == [f"too_long_{field}"]
    assert verdicts([record], rules={"length": {"field": field, "min_chars": sizes[field] + 1}}) == [f"too_short_{field}"]


def test_a_bad_labelled_or_rejected_answer_is_not_judged() -> None:
    refusing = "I'm sorry, but I can't assist with that."
    ask = "Name a river in Asia."
    unwanted = Record(id="", messages=(Message(role="user", content=ask), *answer(refusing)), label=False)
    wanted = Record(id="", messages=unwanted.messages, label=True)
    rejected = chat(ask, chosen=answer("The Mekong."), rejected=answer(refusing))
    chosen = chat(ask, chosen=answer(refusing), rejected=answer("The Mekong."))
    assert verdicts([unwanted, wanted, rejected, chosen]) == [None, "refusal", None, "refusal"]


def test_the_evidence_names_rule_field_value_and_turn() -> None:
    record = chat("讲个笑话", "从前有座山。", "打开网页", "抱歉，我无法浏览互联网。")
    detail = json.loads(run_rows(Filter(), [record]).drops["detail"][0])
    assert detail == {"rule": "refusal", "field": "output", "value": "抱歉，我无法", "turn": 1}
