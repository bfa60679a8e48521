"""Labelled cases of every rule: defects in English and Chinese, and what only looks like them; a table, no tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.record import Message, Record

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
    return Record(
        id="", messages=tuple(Message(role=r, content=t) for r, t in zip(cycle, turns, strict=True)), **fields
    )


def answer(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


CALL = Message(role="assistant", content="", tool_calls='[{"function":{"name":"weather","arguments":"{}"}}]')
RESULT = Message(role="tool", content='{"celsius": 21}')
MADE_UP_KEY = "sk-" + "a1B2c3D4" * 6
"""Put together here, so that no scanner takes this file for a leak."""

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
            ("wrong-role-order", chat("Hi", "Hello?", "Hi", roles=("user", "user", "assistant"))),
            ("wrong-role-order", chat("Hello, how can I help?", "Tell me a joke", roles=("assistant", "user"))),
            ("wrong-role-order", chat("讲个笑话", "好的。", "从前有座山。", roles=("user", "assistant", "assistant"))),
            ("wrong-role-order", chat("hi", "hello", "be kind", roles=("user", "assistant", "system"))),
            ("wrong-role-order", Record(id="", messages=(ASK_WEATHER, RESULT, *answer("21 degrees.")))),
            ("wrong-role-order", Record(id="")),
        ],
        [
            chat("你是老师", "什么是光合作用？", "植物用光制造养分。", roles=("system", "user", "assistant")),
            Record(id="", messages=(ASK_WEATHER, CALL, RESULT, RESULT, CALL, RESULT, *answer("21 degrees."))),
            Record(id="", messages=(ASK_WEATHER, CALL), tools="[]"),
            chat(
                "Hi",
                "Hello",
                "Recommend a book",
                chosen=answer("Middlemarch."),
                rejected=answer("No."),
                roles=("user", "assistant"),
            ),
        ],
    ),
    "empty": (
        {},
        [
            ("empty-output", asked("Calculate 20% of 200.", "")),
            ("empty-output", asked("计算总和", " \n\u200b")),
            ("empty-output", chat("Name a colour.")),
            ("empty-output", chat("讲个故事", "从前有座山。", "继续", "")),
            ("empty-output", chat("Name a fruit.", "", "Another.", "Pear.")),
            ("empty-output", chat("Pick one", chosen=answer(""), rejected=answer("A"))),
            ("empty-instruction", asked("  ", "You chose the left door.")),
            ("empty-instruction", asked("\u200b", "当然可以。")),
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
            ("placeholder-output", asked("Design a logo for a bakery.", "<nooutput>")),
            ("placeholder-output", asked("Record a melody.", "<No output, this needs audio>")),
            ("placeholder-output", asked("Write a sorting algorithm.", "N/A")),
            ("placeholder-output", asked("Draw the flow of an order.", "[Flow chart image]")),
            ("placeholder-output", asked("Make slides on climate change.", "<Insert presentation>")),
            ("placeholder-output", asked("画一幅山水画", "[图画]")),
            ("placeholder-output", asked("设计一张海报", "【海报图片】")),
            ("placeholder-output", asked("编写算法", "不适用")),
            ("placeholder-input", asked("Summarise the article.", "It is about trade.", input="[Link to an article]")),
            ("placeholder-input", asked("Describe the photo.", "A calm lake.", input="<Photo attached>")),
            ("placeholder-input", asked("Fix the grammar.", "It is fine.", input="<text>")),
            ("placeholder-input", asked("总结下面的内容", "本文讨论环保。", input="<一段文本>")),
            ("placeholder-input", asked("给文章起标题", "科技之光", input="[文章链接]")),
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
            (
                "merged-record",
                asked("Name a mountain.", "Kilimanjaro.\n##\n6. Instruction: Write a note.\n6. Input:\n<noinput>"),
            ),
            ("merged-record", asked("Why is the sky blue?", "Scattering. 14. Instruction: List three fruits.")),
            ("merged-record", asked("介绍长城", "长城很长。\n###\n5. 指令：写一首诗\n5. 输入：\n<无输入>")),
            ("merged-record", asked("概括文章", "鲸鱼很大。\n\n6. 说明：创建目录。\n6.输入：\n无\n6.输出：\n目录")),
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
            ("chat-token", asked("Name a colour.", "Red<|im_end|>\n<|im_start|>user\nAnother?")),
            ("chat-token", asked("介绍你的家乡", "[INST] 再写一遍 [/INST] 我的家乡在江南。")),
            ("chat-token", asked("<|user|> Name a bird", "A heron.")),
            ("prompt-marker", asked("Name a colour.", "Red.\n### Instruction:\nName another.")),
            ("prompt-marker", asked("说一种颜色", "红色。\n### 指令：再说一种")),
            ("prompt-marker", asked("#Rewritten Prompt#: Explain tides to a sailor", "Tides follow the moon.")),
            ("prompt-marker", asked("改写后的指令：向水手解释潮汐", "潮汐随月亮而变。")),
            ("prompt-marker", asked("Instruction: Name a river", "The Nile.")),
            ("prompt-marker", asked("指令：说出一条河", "长江。")),
            (
                "prompt-marker",
                asked("Why do birds sing?", "To call.\nInstruction: Name a fish.\nInput: none\nOutput: Carp"),
            ),
            ("prompt-marker", asked("鸟为什么叫？", "求偶。\n指令：说一种鱼\n输入：无\n输出：鲤鱼")),
            (
                "prompt-marker",
                asked("Illustrate the text.", "<noinput>\nA GPT model cannot draw.", input="A fox runs."),
            ),
            ("prompt-marker", asked("画画", "<无输出> 无法完成")),
        ],
        [
            asked("Show me the Alpaca prompt template.", "### Instruction:\n{instruction}\n\n### Response:"),
            asked("Make a pancake recipe.", "### Ingredients\nEggs, flour\n\n### Instructions:\n1. Whisk.\n2. Fry."),
            asked("What does this print?", "Input: 3\nOutput: 9", input="print(3 ** 2)"),
            asked("什么是机器指令？", "指令：告诉处理器做什么的一个编码。"),
            asked("How does ChatML mark a turn?", "A turn starts with <|im_start|> and ends with <|im_end|>."),
            asked("Rewrite the prompt: 'dog story'", "Tell a story in which a dog finds its way home."),
            asked(
                "Explain the marker.", "Write <noinput> when there is nothing.", input="We put <noinput> in the field."
            ),
        ],
    ),
    "echo": (
        {},
        [
            (
                "output-is-input",
                asked("Shorten it.", "Ann came; Bob and Cid left.", input="Ann came; Bob and Cid left."),
            ),
            ("output-is-input", asked("将句子改得更生动", "我喜欢听音乐。", input="我喜欢听音乐。")),
            (
                "output-is-instruction",
                asked("Create a looping picture of a cat.", "Create a looping picture of a cat."),
            ),
            ("output-is-instruction", asked("制定用户界面的详细设计计划。", " 制定用户界面的详细设计计划。\n")),
            (
                "input-is-instruction",
                asked("Explain how tides work.", "The moon pulls.", input="Explain how tides work."),
            ),
            (
                "input-is-instruction",
                asked("请详细描述西红柿炒蛋的做法。", "先打蛋。", input="请详细描述西红柿炒蛋的做法。"),
            ),
            ("chosen-is-rejected", chat("Best city?", chosen=answer("Lyon."), rejected=answer("Lyon."))),
            ("chosen-is-rejected", chat("哪座城市最好？", chosen=answer("成都。"), rejected=answer("成都。"))),
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
            ("image-in-question", asked("Describe it.", "A pier.", input="![alt](https://i.example.org/a.png)")),
            ("image-in-question", asked("Which bird?", "An egret.", input='<img src="https://i.example.org/b.jpg">')),
            ("image-in-question", asked("描述照片", "一辆车。", input="<image: https://images.example.org/1.jpg>")),
            ("image-in-answer", asked("Design a logo.", "![Logo](https://i.example.org/logo.png)")),
            ("image-in-answer", asked("给鞋店设计标志", "好的：\n![标志](http://i.example.org/feA1.png)")),
            ("missing-image", asked("Write a caption for the following photo.", "Out again!")),
            ("missing-image", asked("Identify the animal in the picture.", "A heron.")),
            ("missing-image", asked("为下面的照片写一个标题。", "海边的早晨")),
            ("missing-image", asked("解释这幅漫画。", "它讽刺拖延。")),
            ("missing-attachment", asked("Summarise the attached report.", "Sales grew.")),
            ("missing-attachment", asked("请根据附件写一份总结。", "销售增长。")),
            ("missing-figure", asked("How do valves work?", "They open one way, as shown in the figure below.")),
            ("missing-figure", asked("水泵怎么工作？", "如下图所示，叶轮带动水流。")),
            ("invented-url", asked("Where can I learn chess?", "See https://www.chess-lessons.example/start.")),
            ("invented-url", asked("哪里可以学棋？", "请访问 https://qi.example.cn/a。")),
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
            (
                "refusal",
                asked(
                    "Make a pie chart.",
                    "Sorry, the task involves visual output. We cannot complete this with a GPT model.",
                ),
            ),
            ("refusal", asked("Build a website.", "N/A (GPT model cannot take any action)")),
            ("refusal", asked("打开这个网页", "抱歉，我无法浏览互联网。")),
            ("refusal", asked("画一张图", "我无法生成图片，因为没有这个功能。")),
            ("refusal", asked("编译程序", "GPT模型无法完成此类指令。")),
            (
                "ai-self-talk",
                asked("Write about your last weekend.", "As an AI language model, I do not have weekends."),
            ),
            ("ai-self-talk", asked("Who won the 2030 cup?", "As of my last update, it had not been played.")),
            ("ai-self-talk", asked("描述一次难忘的经历。", "作为一个人工智能助手，我没有亲身经历。")),
            ("ai-self-talk", asked("预测明天的股价", "我是由OpenAI训练的大型语言模型，不能预测。")),
            (
                "ai-self-talk",
                chat(
                    "讲个笑话",
                    "好的，从前有座山。",
                    "再讲一个",
                    "作为一款AI语言模型，我没有幽默感。",
                    "谢谢",
                    "不客气！",
                ),
            ),
            ("asks-for-input", asked("Summarise the article.", "I'm sorry, but you didn't provide the article.")),
            ("asks-for-input", asked("Edit the text.", "Please provide the text so that I can edit it.")),
            ("asks-for-input", asked("将给定的文本分类", "很抱歉，您没有提供文本。请您提供一段文本。")),
            ("asks-for-input", asked("修改句子", "请提供你想要修改的句子，这样我才能改写它。")),
        ],
        [
            asked("Write a script with a chatbot.", "User: Hi!\nAI: As an AI, I am happy to help."),
            asked(
                "How do models talk of themselves?",
                'Many begin with "As an AI language model, I cannot ...", which readers dislike.',
            ),
            asked("Introduce yourself.", "As a language model, I go by the name Vicuna."),
            asked("你是谁？", "作为一个人工智能助手，我可以回答问题。"),
            asked("Apologise to a customer.", "I'm sorry, I cannot express how much we regret the delay."),
            asked("Write a supportive reply.", "I'm sorry to hear that. Is there anything I can do?"),
            asked("写一封道歉信", "非常抱歉，我不能按时交货。"),
            asked("Rewrite politely: 'Give me the book'", "Could you please give me the book?"),
            asked("Explain dark matter.", "It is matter that we cannot see directly."),
            asked("Why is sorry hard to say?", "Because it admits a fault. I cannot stress this enough."),
            asked(
                "Can you order a pizza for me?", "I'm sorry, but I can't order food.", tools='[{"name": "calendar"}]'
            ),
            chat("Edit my text.", "Please provide the text so that I can edit it.", "I has a dog.", "I have a dog."),
            asked("人工智能是什么？", "作为一门学科，人工智能研究智能行为。"),
        ],
    ),
    "repetition": (
        {},
        [
            ("repeated-sentences", asked("Tell a story.", "The fox ran to the river and drank. " * 12)),
            ("repeated-sentences", asked("讲个故事", "从前有一座很高的山和一座庙。" * 20)),
            ("repeated-words", asked("Describe joy.", "and then we smiled and laughed " * 40)),
            ("repeated-characters", asked("形容快乐", "我们笑着跳着唱着跑着，" * 40)),
        ],
        [
            asked("Write code.", "x = 1;\n" * 60),
            asked("Make a table.", "| room | free |\n" * 30),
            asked(
                "写一首歌，副歌重复",
                "夏天的风吹过窗前的老槐树\n" * 3
                + "我在等你从海边回来的消息\n" * 3
                + "".join(f"第{n}个夜晚，{w}落在我肩上\n" for n, w in zip("一二三四五六", "星雨雪花月光", strict=True)),
            ),
            asked("List the times table of 7.", "\n".join(f"7 times {n} makes {7 * n}" for n in range(1, 30))),
            asked(
                "Plan a workout.",
                "\n".join(
                    f"{n}. 30 seconds of {m}\n{n + 1}. Rest for ten seconds"
                    for n, m in enumerate(
                        ["jumping jacks", "push-ups", "squats", "lunges", "planks", "burpees", "crunches", "sprints"]
                    )
                ),
            ),
        ],
    ),
    "ending": (
        {},
        [
            (
                "unfinished-ending",
                asked(
                    "Describe Biden's win.",
                    "Joe Biden won the election of 3 November. He received 306 electoral votes, and turnout was the "
                    "highest in more than a century. The result was contested in several courts without success. "
                    "He was certified as the winner on 14 December 20",
                ),
            ),
            ("unfinished-ending", asked("Work out the sum.", "The numerical value of the equation is")),
            (
                "unfinished-ending",
                asked(
                    "介绍梅西的成就",
                    "梅西是历史上最伟大的足球运动员之一，出生于阿根廷罗萨里奥。" * 2
                    + "他十次获得西甲冠军，七次获得国王杯冠军，四次获得欧冠冠军。"
                    + "他多次获得金球奖，并带领国家队夺得世界杯冠军。"
                    + "他的职业生涯还包括许多纪录，例如单赛季进球纪录，以及连续多年的最佳射手称号。"
                    + "值得一提的是，他曾两次赢得西甲和国王杯以及",
                ),
            ),
            ("unfinished-ending", asked("列出音乐元素", "爵士乐有许多元素，演奏者的技巧各有独特的风格，")),
            ("unclosed-code", asked("Write a loop.", "Here it is:\n```python\nfor i in range(3):\n    print(i)\n")),
            ("unclosed-code", asked("写一个循环", "代码如下：\n```\nfor i in range(3):\n    pri")),
        ],
        [
            asked(
                "List fruit.", "1. Apples that keep well in winter\n2. Pears\n3. Plums from the old garden by the river"
            ),
            asked("Write a haiku.", "Golden sun shines bright\nSeagulls soaring in the sky\nPeaceful waves rolling in"),
            asked(
                "Write a letter.",
                "Dear Ann,\n\nThank you for the book. I read it in one night. It made me laugh a great deal, "
                "and I lent it to my brother, who liked it as well. I hope that you will visit us in spring and stay "
                "for as long as you can.\n\nSincerely,\nYour friend Bob",
            ),
            asked("写一首诗", "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡"),
            asked(
                "Give the SQL.",
                "SELECT name FROM customers WHERE city = 'Lyon' ORDER BY name, and so on for every table that you "
                "have. It is short. The condition may be longer. Indexes help; see the manual of your database for the",
            ),
            asked(
                "Write a tweet.",
                "We made it. Ten thousand readers came along in a single year, and every one of you helped us to get "
                "here. Thank you for the letters, the corrections and the patience that you showed us. #thankyou",
            ),
            chat("讲个长故事", "从前有个人，他走到森林里，", "继续", "遇到了一只会说话的狐狸。"),
            asked("Show a block.", "```\na = 1\n```"),
        ],
    ),
    "length": (
        {"min_words": 3, "max_words": 12, "max_chars": 60, "min_chars": 4},
        [
            ("too-short-output", asked("Is it prime?", "Yes it")),
            ("too-short-output", asked("是质数吗？", "是")),
            (
                "too-long-output",
                asked("Count.", "one two three four five six seven eight nine ten eleven twelve thirteen"),
            ),
            (
                "too-long-output",
                asked("解释", "机器学习是人工智能的一个重要分支，研究如何让计算机从数据中自动学习规律并改进性能。"),
            ),
            ("too-long-output", asked("Spell it.", "a" * 61 + " b c")),
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
            (
                "unwanted-language",
                asked("Wie funktioniert ein Kühlschrank?", "Ein Kältemittel entzieht dem Innenraum Wärme."),
            ),
            ("unwanted-language", asked("富士山の高さは？", "富士山の高さは三千七百七十六メートルです。")),
            (
                "answer-in-another-language",
                asked("列出四张著名的摇滚专辑。", "Here is a list of four famous rock albums for you to enjoy."),
            ),
            (
                "answer-in-another-language",
                asked("How do I keep bread fresh for longer?", "把面包放进密封的袋子里，放在阴凉干燥的地方。"),
            ),
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
            ("email-address", asked("Who do I ask?", "Write to maria.lopes@ufmg.br for the forms.")),
            ("email-address", asked("怎么联系你们？", "请发邮件到 zhangwei88@163.com。")),
            ("phone-number", asked("Which number?", "Call (212) 684-4700 before noon.")),
            ("phone-number", asked("你的电话？", "我的手机是13912345670，随时联系。")),
            ("phone-number", asked("前台电话", "请拨打 010-62781234 转三。")),
            ("secret-key", asked("Call the API.", "curl -H 'Authorization: Bearer " + MADE_UP_KEY)),
            ("secret-key", asked("配置", "AWS_ACCESS_KEY_ID=" + "AKIA" + "Z5ERTUIO7NBVCX2Q")),
        ],
        [
            asked("Who do I ask?", "Write to info@example.com or call 555-0100."),
            asked("Clone it.", "git clone git@github.com:someone/thing.git"),
            asked("Format the number.", "(123) 456-7890"),
            asked("圆周率", "3.14159265358979323846"),
            asked("写一个正则", r"手机号可用 ^1[3-9]\d{9}$ 匹配。"),
            asked("订单号是多少？", "订单号是 202311139123456789。"),
            asked(
                "How do keys look?",
                "They look like sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx or AKIAIOSFODNN7EXAMPLE.",
            ),
        ],
    ),
    "alpaca": (
        {},
        [
            ("alpaca-length", asked("Name a river", "Nile")),
            ("alpaca-length", asked("word " * 151, "Yes")),
            ("alpaca-blocked-word", asked("Describe the picture on the wall.", "A ship.")),
            ("alpaca-blocked-word", asked("Tell me how to GO TO Lyon.", "By train.")),
            ("alpaca-program", asked("Write a program that sorts numbers.", "sorted(x)")),
            ("alpaca-start", asked("[x] Explain what this is.", "A box.")),
            ("alpaca-start", asked("解释 一下 什么 是 潮汐", "海水涨落。")),
        ],
        [
            asked("Write programs that sort numbers.", "sorted(x)"),
            asked("Profile a mapmaker you admire.", "Mercator."),
            asked("Explain what filing is.", "Smoothing with a file."),
        ],
    ),
}
