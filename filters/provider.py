"""What a provider said instead of an answer, and whose product a text speaks of."""

import polars as pl

from filters.check import Check, any_of, matching

_AGAIN = r"(?:please )?(?:try|retry)(?: (?:your request|it))? (?:again|later)"

ERROR_EN = "(?i)" + any_of(
    r"^\W*too many requests in \d+ (?:hour|minute|second)",
    r"^\W*(?:error:? ?)?(?:429 )?too many requests[.!]?$",
    r"^\W*(?:there was|sorry, there was) an error (?:generating|processing|while generating)",
    r"^\W*(?:an error occurred|something went wrong)[.!,]?(?: if this issue persists| "
    rf"please (?:contact|reload|refresh)| {_AGAIN}|$)",
    r"^\W*(?:network error|internal server error|service unavailable|bad gateway|gateway time-?out|request timed out|"
    r"connection (?:error|reset|timed out))\W*$",
    r"^\W*(?:5\d\d|429) (?:internal server error|bad gateway|service unavailable|gateway time-?out|"
    r"too many requests)\W*$",
    rf"^\W*(?:the server is (?:overloaded|busy)|we're experiencing (?:heavy load|"
    rf"high demand))[^.\n]*(?:\.\s*{_AGAIN})?\W*$",
    r"^\W*(?:rate limit (?:reached|exceeded)|you exceeded your current quota|incorrect api key provided)\b",
    r'^\s*\{\s*"(?:error|detail)"\s*:\s*[{"][^\n]*(?:"code"|"message"|rate|limit|quota|overload)',
    r"^\W*conversation(?:aborted| aborted| not found)\W*$",
)

ERROR_ZH = any_of(
    r"^\W*(?:抱歉[，,。]?)?(?:网络|连接|请求|服务器?|系统|接口|网关)(?:错误|异常|超时|繁忙|失败|出错了?|不可用)[，,。！!\s]*"
    r"(?:请(?:您)?(?:稍后|稍候|检查网络|刷新)[^。\n]{0,12}[。！!]?)?$",
    r"^\W*(?:您的?)?(?:请求|访问|操作)(?:过于|太)频繁[^\n]{0,20}$",
    r"^\W*(?:当前)?(?:使用|排队|访问)?人数(?:过多|较多)[^\n]{0,20}$",
    r"^\W*(?:服务|系统)(?:繁忙|暂时不可用)[^\n]{0,16}$",
    r"^\W*生成(?:失败|出错|中断)[^\n]{0,12}$",
)


def provider_error() -> tuple[Check, ...]:
    """Object to answers that are a provider's message about itself: rate limits, timeouts, lost connections.

    FastChat looks for one of them ("Too many requests in 1 hour"). The message must be the whole answer or its
    beginning, and the question must not ask for such a message.
    """
    asked = pl.col("instruction").str.contains(
        r"(?i)\berror|message|\bapi\b|status|\b[45]\d\d\b|错误|报错|提示|消息|状态码|出错|\brequests?\b|繁忙|频繁|超时"
    )
    short = pl.col("output").str.len_chars() <= 400
    return (
        matching("provider-error", "output", ERROR_EN, given=short & ~asked),
        matching("provider-error", "output", ERROR_ZH, given=short & ~asked),
    )


VENDOR = r"(?i)openai|chatgpt"
VENDOR_WIDE = r"(?i)open[- ]?ai\b|chat[- ]?gpt|\bgpt-?[34]|chadgpt"


def vendor(wide: bool = False, names: tuple[str, ...] = ()) -> tuple[Check, ...]:
    """Object to any mention of OpenAI or ChatGPT, and of further `names`, anywhere in the conversation.

    FastChat's block list (it hits 106 rows of sharegpt_zh_1k.jsonl). It refuses honest talk about them as well, and is
    in no default.

    Args:
        wide: look for "GPT-3", "GPT-4" and spellings with spaces and hyphens as well, as Koala does.
        names: further words, in any case.
    """
    pattern = VENDOR_WIDE if wide else VENDOR
    found = pl.col("text").str.extract(pattern, 0)
    if names:
        found = pl.coalesce(
            found, pl.col("text").str.extract_many(list(names), ascii_case_insensitive=True).list.first()
        )
    check = Check(reason="names-a-vendor", field="text", when=found.is_not_null(), value=found, scope="record")
    return (check,)
