"""Answers that decline, speak of themselves as a machine, or ask for what was not given."""

import polars as pl

from filters.check import Check, any_of, asks, matching

_NOT = r"(?:n(?:'|’)t| ?not)"
_START = r"^\W*(?:(?:well|oh|hello|hi|hey|dear user|i see|unfortunately|regrettably)[,.!]?\s+)?"
_SORRY = (
    r"(?:(?:i(?:'|’)?m|i am|we(?:'|’)?re|we are|my)\s+)?(?:(?:very|so|really|truly|deeply)\s+)?"
    r"(?:sorry|afraid|apolog(?:ies|i[sz]e))"
)
_SELF = r"(?:an?|the|just an?|only an?)\s+(?:[a-z]+[\s-]){0,3}?" + any_of(
    r"ai\b", "artificial intelligence", "language model", r"llm\b", r"gpt\b", "chatbot", "virtual assistant"
)
_CANNOT = any_of(
    rf"ca(?:n?{_NOT})",
    rf"could{_NOT}",
    r"(?:am|'m|’m|are) (?:not (?:able|allowed|permitted|capable)|unable|incapable)",
    r"won(?:'|’)t be able",
    rf"do{_NOT} (?:have (?:the |any )?(?:access|ability|capability|capacity|means)|feel comfortable)",
)
_HELP = (
    r"(?:help|assist|fulfil|complete|provide|generate|create|comply|answer|do (?:that|this)|perform|produce|access|"
    r"engage|support|write|discuss|browse|open|view|see|draw|play|set|send|make|process|continue|offer|give|share|show|recommend)"
)
_OUT_OF_REACH = (
    r"\b(?:request|task|instruction|illegal|harmful|offensive|inappropriate|visual|website|internet|real[- ]time)\b"
)

REFUSAL = "(?i)" + any_of(
    rf"{_START}{_SORRY}[,.!]?\s+(?:but\s+)?(?:as {_SELF}[^.,]*,\s*)?i\s+{_CANNOT}",
    rf"{_START}{_SORRY}[,.!]?\s+(?:but\s+)?(?:it(?:'|’)s|it is) not (?:possible|appropriate)",
    rf"{_START}i\s+do{_NOT} have (?:the |any )?(?:access|ability|capability|means) to (?:[a-z]+[ ,])*?"
    r"(?:real[- ]time|internet|live|current|browse|web|external|personal)",
    rf"{_START}i\s+{_CANNOT}\s+(?:to\s+)?(?:[a-z]+ly\s+)?{_HELP}\b[^.!?\n]*(?:[.!]?$|{_OUT_OF_REACH})",
)

TASK_REFUSED = "(?i)" + any_of(
    r"^\W*due to the (?:limitations?|functionality|unreliab\w+|restrictions?|nature) of (?:the )?"
    r"(?:gpt|language|ai|this|application|model|text)",
    r"\b(?:task|instruction|request)s? can(?: ?not|(?:'|’)t) be "
    r"(?:completed|performed|done|fulfilled|executed|carried out)\b[^.\n]*\b(?:model|gpt|ai)\b",
    r"\b(?:gpt (?:language )?|ai |language )models? "
    r"(?:can(?: ?not|(?:'|’)t)|is (?:not able|unable|not capable))\b[^.\n]*\W*$",
    r"^\W*(?:sorry,? )?(?:the|this) (?:task|instruction|request) (?:involves|requires|is (?:beyond|outside))\b[^\n]*"
    r"\b(?:beyond the capabilit|the model|gpt|we cannot|unreliab)",
)
"""Set phrases in which davinci-003 declined a task."""

_TASK_HINTS = ("due to the", "this task", "the task", "request", "instruction", "gpt", "ai model", "language model")

_SORRY_ZH = r"(?:我?(?:很|非常|十分|真的?很)?(?:抱歉|对不起|遗憾|不好意思))"
_START_ZH = r"^[^\p{Han}\w]*(?:您好[,，。!！]\s*)?"

REFUSAL_ZH = any_of(
    _START_ZH + _SORRY_ZH + r"[^。！!?？\n]{0,30}?(?:我|本模型|作为[^。，,\n]{0,20}[，,]\s*我)[^。，,！!?？\n]{0,12}?"
    r"(?:无法|不能|没有(?:能力|办法|权限)|没办法|不会(?:提供|帮助|回答|生成|参与)|不便|不可以|拒绝)",
    _START_ZH + r"我(?:无法|不能|没有能力|没办法)(?:直接)?"
    r"(?:回答|满足|完成|提供|协助|帮助|执行|访问|浏览|打开|生成|创建|查看|进行|[为帮][您你])",
    r"这(?:个|项)?(?:任务|指令|请求|问题)(?:无法|不能)(?:由|被)[^。\n]{0,20}(?:模型|完成|执行)",
    r"(?:GPT|语言)模型(?:无法|不能)(?:完成|执行|处理|生成|创建)",
)

SELF_TALK = "(?i)" + any_of(
    rf"(?:^|[.!?\n:]\s*|\b(?:but|however|sorry|because|since|unfortunately),?\s+)as {_SELF}[^.,;!?\n]*,?\s+i\b",
    rf"(?:^|[.!?\n]\s*|\bbecause |\bsince )i(?:(?:'|’)m| am) {_SELF}[^.!?\n]*"
    rf"(?:,|\band\b|\bso\b|\bwhich\b)[^.!?\n]*\b{_CANNOT}",
    r"\bmy (?:knowledge (?:cut-?off|is limited|only goes)|training (?:data )?(?:only |cut-?off|ended))",
    r"\bas of my (?:last|latest|most recent|knowledge) (?:update|training|knowledge|cut-?off)",
    r"\bi(?:(?:'|’)m| am| was) (?:an? )?(?:[a-z]+ ){0,4}?(?:trained|developed|created|made) by "
    r"(?:openai|anthropic|google|meta)\b",
)

_SELF_HINTS = (" ai", "artificial intelligence", "language model", "llm", "gpt", "chatbot", "virtual assistant")
_SELF_HINTS_2 = ("my knowledge", "my training", "as of my", "trained by", "developed by", "created by", "made by")

_MACHINE_ZH = r"(?:AI|ai|Ai|人工智能|人工智慧|语言模型|語言模型|大模型|聊天机器人|机器学习模型|GPT|ChatGPT)"

SELF_TALK_ZH = any_of(
    r"(?:作为|身为|由于我(?:只)?是|因为我(?:只)?是)\s*一?[个名款种台]?\s*"
    r"[^，,。！!?？\n“”\"]{0,14}?" + _MACHINE_ZH + r"(?:\s?(?:语言)?(?:模型|助手|助理|(?:聊天)?机器人))?"
    r"(?:[，,、\s]|[^，,、\s师者员家司业行研专领工学术产课从创爱][^。！!?？\n“”\"]*?[，,、\s])\s*(?:我|因此|所以|无法|不能)",
    r"我(?:只)?是一?[个名款种]?[由被]?\s*OpenAI\s*所?(?:训练|开发|创建|研发)",
    r"我的(?:知识|训练数据|训练|数据)库?[仅只是的]?(?:截止|截至|更新至|停留在|止于|涵盖到)",
)

ASKS_FOR_INPUT = "(?i)" + any_of(
    rf"^\W*(?:{_SORRY}[,.!]?\s+)?(?:but\s+)?"
    r"(?:you|there|it (?:seems|looks like|appears)(?: that| like)?(?: you| there)?|no)\b"
    rf"[^.!?\n]*?\b(?:did{_NOT}|have{_NOT}|has{_NOT}|forgot to) (?:actually )?"
    r"(?:provided?|given?|specif(?:y|ied)|included?|attach(?:ed)?|shared?)\b",
    r"^\W*(?:please|could you(?: please)?|can you(?: please)?) (?:provide|share|specify|supply|paste)"
    r"(?: me)?(?: with)? (?:the|an?|your|some|more|me)\b[^.\n]*(?:[.]\s+|\b)"
    r"(?:so (?:that )?i can|in order (?:for me )?to|for me to|before i can|and i(?:'ll|’ll| will))\b",
)

_GIVEN_ZH = r"(?:提供|给出|说明|指定|输入|附上|提及|告诉|上传)"

ASKS_FOR_INPUT_ZH = any_of(
    _START_ZH
    + rf"(?:{_SORRY_ZH}[,，。!！]?\s*)?(?:但是?|由于|因为)?(?:您|你|题目中?|问题中?|这里|文中)?(?:好像|似乎|貌似|并)?"
    r"(?:没有|未|并未|忘记?了?|还没有?)(?:在[^，。\n]{1,10})?(?:给出?|给[我定]|为我)?(?:任何)?" + _GIVEN_ZH,
    r"^[^\p{Han}\w]*(?:好的[，,。]\s*)?请[您你]?[先再]?(?:提供|给出|输入|告诉我|告知|发送|上传|补充|说明)[^。！!?？\n]{0,40}"
    r"[。！!]?(?:我(?:会|将|才能|就|可以)[^。\n]*。?|谢谢[！!。]?)?$",
    _START_ZH + r"请[您你]?[先再]?(?:提供|给出|告诉我|发送|上传|补充)[^。！!?？\n]{1,30}[，,]"
    r"(?:这样)?我(?:非常|很|十分)?(?:乐意|愿意|高兴|才能)[^。\n]*。?$",
    r"^[^。\n]{0,40}我需要(?:知道|了解)[^\n]{0,80}请[您你]?提供更多(?:的?信息|细节|背景)[。！!]?$",
)

_ABOUT_MACHINES = (
    r"(?i)\b(?:ai|a\.i\.|artificial intelligence|chat-?gpt|gpt|openai|language model|chat-?bot|bot|robot|assistant|"
    r"yourself|about you|are you|(?:who|what) you are|do you (?:have|like|feel|think|love|want|know who)|what are you|"
    r"act as|pretend|who (?:are|made|created|built) you|your (?:name|creator|training|developer|favou?rite|opinion))\b|"
    r"人工智能|人工智慧|机器人|聊天机器|语言模型|大模型|助手|谁(?:创造|开发|训练)|扮演|假装|"
    r"[你您](?:是谁|叫|的名字|是什么|是不是|是否|是人|喜欢|觉得|认为|害怕|想|有没有|来自|多大|几岁|从哪|会什么|能做什么|会做什么|"
    r"有(?:感情|感觉|意识|情感|名字|思想)|"
    r"会?(?:还)?记得|能(?:不能)?(?:做到|记住|记得)|记住)"
)
_OF_MODELS = (
    r"(?i)\b(?:can|what|why|how|which|limit\w*)\b.*\b(?:gpt|language models?|ai)\b|"
    r"\b(?:gpt|language models?|ai)\b.*\b(?:can|cannot|not|limit\w*)\b"
)
_MAY_REFUSE = (
    r"(?i)\b(?:sorry|apolog|refus|declin|rejec|complain|excuse|respon[ds]|reply|dialogue|conversation|script|letter|"
    r"e-?mail|message|rewrite|rephrase|translate|paraphrase|edit|replace|change|correct|convert|song|poem|story|lyrics|"
    r"sentence|quote|tweet)\w*|"
    r"道歉|拒|谢绝|抱歉|对不起|遗憾|回复|对话|剧本|[写封回]信|邮件|改写|重写|翻译|句子|"
    r"(?:写|作|编|续|改|唱|讲)[^。\n]{0,14}(?:歌|诗|故事|台词)"
)


def refusal(declines: bool = True, self_talk: bool = True, asks_for_input: bool = True) -> tuple[Check, ...]:
    """Object to refusals, to talk of being an AI, and to single-turn answers that ask for the missing input.

    A refusal counts only where an answer begins (or in set phrases), and not when the question asks for an apology, a
    letter, a dialogue or a rewording; self-talk not when the question is about machines or about "you". Records that
    define tools are left alone: there, declining what no tool can do is the lesson. Our own wording; the families are
    OpenChat's and BELLE's.

    Args:
        declines: look for refusals.
        self_talk: look for "as an AI language model, I ...".
        asks_for_input: look for "you did not give the text"; with more turns to follow, that is a fair question.
    """
    checks = []
    free = ~pl.col("tooled")
    if self_talk:
        off_topic = free & ~asks(_ABOUT_MACHINES)
        checks += [
            matching("ai-self-talk", "output", SELF_TALK, given=off_topic, hints=_SELF_HINTS + _SELF_HINTS_2),
            matching("ai-self-talk", "output", SELF_TALK_ZH, given=off_topic),
        ]
    if declines:
        unasked = free & ~pl.col("instruction").str.contains(_MAY_REFUSE)
        checks += [
            matching("refusal", "output", REFUSAL, given=unasked),
            matching("refusal", "output", REFUSAL_ZH, given=unasked),
            matching("refusal", "output", TASK_REFUSED, given=~asks(_OF_MODELS), hints=_TASK_HINTS),
        ]
    if asks_for_input:
        alone = (pl.col("turn") == 0) & (pl.col("turns") == 1)
        checks += [
            matching("asks-for-input", "output", ASKS_FOR_INPUT, given=alone),
            matching("asks-for-input", "output", ASKS_FOR_INPUT_ZH, given=alone),
        ]
    return tuple(checks)
