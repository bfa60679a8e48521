"""Instructions that speak of a text, code or page as if it lay there."""

from filters.check import any_of

_TEXT = any_of(
    r"code(?: snippets?)?|snippets?|functions?|programs?|scripts?|(?:sql )?quer(?:y|ies)|algorithms?",
    r"sentences?|phrases?|paragraphs?|passages?|texts?|articles?|stor(?:y|ies)|poems?|essays?|e-?mails?|letters?|documents?|reports?",
    r"statements?|quotes?|quotations?|lyrics|conversations?|dialogues?|reviews?|tweets?|excerpts?|transcripts?|abstracts?|headlines?",
    r"data(?: ?sets?)?|lists?|tables?|websites?|web ?pages?|urls?|links?|equations?|expressions?|words?|verbs?|"
    r"nouns?|adjectives?|"
    r"items|options|recipes?|resumes?|menus?",
)
_KIND = r"(?:[a-z\-]+ ){0,2}?"
_REST = r"[^.?!:,]*[.?!:]?\s*$"
_WORK = (
    r"(?:complete|edit|rewrite|rephrase|reword|translate|summari[sz]e|fix|debug|explain|analy[sz]e|reverse engineer|"
    r"refactor|describe|"
    r"classify|correct|continue|finish|proofread|paraphrase|improve|optimi[sz]e|shorten|simplify|critique|evaluate)"
)

TEXT_ASKED = "(?i)" + any_of(
    rf"\bthe following {_KIND}{_TEXT}\b{_REST}",
    r"\b(?:which|any|one|some|all|each) of the following\b[^.?!:,]*[?.]?\s*$",
    rf"\bthe {_KIND}{_TEXT} (?:(?:below|above|provided|attached)\b{_REST}|given\s*[.?:]?$)",
    rf"^{_WORK} (?:this|the given|the provided) {_KIND}{_TEXT}\b{_REST}",
    r"\byou just (?:wrote|gave|created|generated)\b",
)
TEXT_ASKED_ZH = any_of(
    r"(?:以下|下面|下列|下文|上述|给定|所给|提供)的?[\p{Han}A-Za-z]{0,4}?"
    r"(?:文章|文本|段落|句子|代码|程序|函数|诗歌?|故事|文字|单词|词语|数据集?|列表|图案|歌词|对话|段话|评论|摘录|材料|内容)"
    r"[^\n。？！?!：:“”\"，,、]{0,24}[。？！?!：:]?\s*$",
    r"(?:^|[^\p{Han}]|为|给|对|把|将|从|建议|总结|修改|解释|分析|评价|翻译)(?:这|该|此)(?:篇|段|句|个|首|份|则)?"
    r"(?:文章|文本|段落|句子|话|代码|程序|函数|诗歌?|故事|标志|列表|歌词|对话|评论)[^\n。？！?!：:“”\"，,、]{0,24}[。？！?!：:]?\s*$",
    r"^(?:修改|改写|编辑|重写|翻译|纠正|概括|总结|缩写)(?:句子|段落|文本|文章|代码|文字)[^\n“”\"：:，,]{0,12}[。：:]?\s*$",
)
"""What is asked about is not there: nothing follows the last mention of it."""

HINTS = ("following", " below", " above", " provided", " given", " attached", " this ", "you just ")
HINTS_ZH = (
    *("以下", "下面", "下列", "下文", "上述", "给定", "所给", "提供", "这", "该", "此"),
    *("句子", "段落", "文本", "文章", "代码", "文字"),
)
"""What every match of the patterns above holds."""

TOLD = (
    r"\n\s*\S|\d.*\d.*\d|[\"“《「『`(（\[{]|'[^']{3,}'|https?:|[:：]\s*\S|\s[-–]\s|[—;；]|\w- \w|"
    r"[?？.。!！]\s*\S+\s+\S|"
    r"(?i)\bexample\b|\bcalled\b|\bnamed\b|\btitled\b|[_]{2,}"
)
"""An instruction that holds, quotes or names what it speaks of."""

ONLY_A_LINK = r"^\s*<?https?://\S+>?\s*$"
ENDS_IN_A_LINK = r"(?is)^[^\n]{0,160}(?:\b(?:article|page|post|text|story|paper|video|document|report)|文章|网页|视频)[^\n]{0,40}[:：.]?\s*https?://\S+\s*$"
READ_IT = (
    r"(?i)\b(?:summar\w+|article|read|extract|according|review|content|page|video|paper|describe|analy[sz]e|explain|"
    r"main (?:idea|point)|"
    r"takeaway|keywords?|title|headline|author|sentiment)\b|总结|概括|文章|阅读|提取|内容|网页|视频|分析|描述|解释|标题"
)
"""What one can only do with a page after opening it."""
