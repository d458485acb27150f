"""How secrets read. Each pattern reads a text once: what may repeat is bounded, or can be read in one way."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

HIDDEN = "[hidden]"

_WRAPPED = r"(?:(?:\\?[\r\n]{1,2}|\\n)[ \t]{0,16}(?=[A-Za-z_-]{0,15}[0-9])[\w+/=.-]{12,}){0,8}"
"""A token that a terminal or a log has wrapped goes on in the next lines."""
_QUOTE = r"\\{0,4}[\"']"
_TO = rf"(?:{_QUOTE}\]?)?[ \t]{{0,8}}(?::=?|=>?|%3[AD]|\\{{1,2}}u003[ad])\s{{0,8}}"
_BY_NAME = (
    r"(?:pass(?:word|wd|phrase)|pgpass|_pass\b|_pwd|secret(?:[_-]?key)?|api[ _-]?key|credentials?"
    r"|(?:access|account|auth|encryption|master|private|signing|storage)[ _-]?key|x-[a-z-]{0,32}key)"
    r"(?:[_-][\w-]{0,32})?"
    r"|(?:secretaccesskey|token|_pat)(?:[_-](?:prod|dev|test|b64|base64|value|\d{1,3}))?"
)
LABEL = re.compile(rf"(?i)[\w.-]{{0,64}}?(?:{_BY_NAME}|authorization|(?:set-)?cookies?|x-[a-z-]{{0,32}}auth)")
"""A field's name whose value is a secret."""
_VALUE = (
    rf"[bruf]{{0,2}}(?P<quote>{_QUOTE})(?:(?!(?P=quote))(?:\\.|[^\r\n])){{1,8192}}{_WRAPPED}"
    rf"|(?:(?=[^\r\n])|(?=\s{{1,32}}\S{{0,64}}\d)\s{{1,32}})(?P<bare>[^\s\"',;&\\]{{4,}}){_WRAPPED}"
)
_VOCABULARY = ("bos_", "eos_", "pad_", "unk_", "sep_", "cls_", "mask_", "next_", "last_", "first_", "image_")
_CODE = re.compile(
    r"(?i)(?:none|null|true|false|self|bytes|bool|float|object|optional|required|missing|invalid)[):\]}.]{0,4}$"
    r"|[a-z_]\w{0,64}(?:\.\w{1,64}){0,8}[(\[]|self\.|os\.environ|</?[\w| ]{1,32}/?>$"
    r"|/(?:etc|run|var|home|root|tmp|mnt|data|opt|usr|dev|proc|sys|secrets)\b"
    r"|[a-z_.]{0,40}(?:token|key|secret|password|passwd)[a-z_]{0,40}\)*$"
)
"""What stands after such a name in a program's text, or is a file's path."""
_TOKENS = (
    r"xox[a-z](?:\.xox[a-z])?-[\w.-]{6,}|x(?:app|wfp)-[\w-]{6,}",  # Slack
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",  # AWS
    r"(?:gh[pousr]_|github_pat_)\w{16,}",
    r"gl(?:pat|dt|rt|cbt|ptt|soat|ft|imt|agent|oas|wt|ffct)-[\w.-]{16,}",  # GitLab
    r"(?:hf_|api_org_)[A-Za-z0-9]{16,}",  # Hugging Face
    r"sk-[\w-]{16,}|sk_(?:live|test)_\w{16,}",  # OpenAI, Anthropic; Stripe
    r"wandb_v\d_[\w-]{16,}|nvapi-[\w-]{16,}",
    r"AIza[\w-]{30,}|ya29\.[\w.-]{16,}",  # Google
    r"hvs\.[\w-]{16,}|dckr_pat_[\w-]{16,}|shp[a-z]{2}_\w{16,}|rk_(?:live|test)_\w{16,}|whsec_[\w+/=]{16,}",
    r"npm_[A-Za-z0-9]{30,}|pypi-[\w-]{16,}|dop_v1_\w{16,}|SG\.[\w-]{16,}\.[\w-]{16,}",
    r"eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?",  # JSON web tokens
)


@dataclass(frozen=True)
class Kind:
    """One kind of secret."""

    hints: tuple[str, ...]
    """In small letters: a text without any of them has no such secret, and its pattern is not tried."""
    source: str
    flags: int
    instead: Callable[[re.Match[str]], str]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when a text first has a hint: all of them take 20 ms, and most commands need none."""
        return re.compile(self.source, self.flags)


def _all(_: re.Match[str]) -> str:
    return HIDDEN


def _after_name(found: re.Match[str]) -> str:
    return f"{found['name']}{HIDDEN}"


def _value(found: re.Match[str]) -> str:
    """Hide a value, unless it is a program's text, or the name a tokenizer's."""
    before = found.string[max(0, found.start() - 6) : found.start()].lower()
    is_word = found["name"].lower().startswith("token") and before.endswith(_VOCABULARY)
    if is_word or (found["bare"] and _CODE.match(found["bare"])):
        return found[0]
    return f"{found['name']}{found['quote'] or ''}{HIDDEN}"


def _kind(
    hints: str, pattern: str, instead: Callable[[re.Match[str]], str] = _after_name, flags: int = 0
) -> Kind:
    return Kind(tuple(hints.split()), pattern, flags | re.IGNORECASE, instead)


KINDS = (
    _kind(  # with its end, or without
        "private",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)",
        _all,
        re.DOTALL,
    ),
    _kind(
        "private", r"\A(?:[^-]|-(?!----)){1,8192}-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----", _all
    ),
    _kind(
        "hooks. /api/webhooks/ webhook.office",
        r"(?P<name>(?:hooks\.slack(?:-gov)?\.com|discord(?:app)?\.com/api/webhooks|webhook\.office\.com)/)"
        r"[^\s\"'<>]{4,}",
    ),
    _kind(  # what follows a host and may be a port is none
        "@", r"(?P<name>://[^\s/:@]{0,128}:)(?!\d{1,5}(?:[^\w@:.!$%*+~-]|$))[^\s\"'<>]{1,256}(?=@)"
    ),
    _kind("@", r"(?P<name>://)(?!\[hidden)[^\s/:@\"'<>]{16,256}(?=@)"),
    _kind(
        "authorization",
        rf"(?P<name>authorization{_TO}(?:[bu]?{_QUOTE})?(?:basic|bearer|token|negotiate|ntlm|apikey)\s{{1,8}})"
        rf"[^\s\"'\\,;]{{1,8192}}{_WRAPPED}",
    ),
    _kind(
        "authorization",
        rf"(?P<name>authorization{_TO}(?P<quote>[bu]?{_QUOTE})?)"
        r"(?!\s*(?:basic|bearer|token|negotiate|ntlm|apikey)\s)(?(quote)[^\r\n\"'\\]{4,8192}|[^\r\n]{4,8192})",
    ),
    _kind(
        "authorization cookie key token secret auth",
        rf"(?P<name>{_QUOTE}(?:(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{{0,32}}(?:key|token|secret|auth)"
        rf"|api-?key){_QUOTE}\s{{0,4}},\s{{0,4}}[bu]?{_QUOTE})[^\r\n\"'\\]{{1,8192}}",
    ),
    _kind("cookie", rf"(?P<name>cookies?{_TO}(?:[bu]?{_QUOTE}|\{{)?)(?=[^\s\d])[^\r\n]{{3,8192}}"),
    _kind(
        "bearer",
        rf"(?P<name>\bbearer\s{{1,8}})(?:(?=\S{{0,64}}\d)[\w.~+/=-]{{8,}}|[\w.~+/=-]{{20,}}){_WRAPPED}",
    ),
    _kind(
        "token key oauth",
        r"(?P<name>\b(?:token|api[ _-]key|oauth)\s{1,8})"
        r"(?=[A-Za-z_-]{0,32}\d)(?=\S{0,32}[A-Za-z])[\w~+/=-]{20,}",
    ),
    _kind(
        "-u --user --proxy-user",
        r"(?P<name>(?:^|\s)(?:-u|--user|--proxy-user)[ =]{1,4}[^\s:@/]{1,64}:)[^\s\"':/]{4,}",
    ),
    _kind(
        "-token -password -passwd -secret -key _token _secret _key",
        r"(?P<name>--(?:[a-z0-9]{1,16}[-_]){0,3}(?:token|password|passwd|secret|key)[ =]{1,4}[\"']?)"
        r"(?!-)[^\s\"']{4,}",
    ),
    _kind("<password <secret <token <api", r"(?P<name><(?:password|secret|token|api-?_?key)>)[^<]{1,256}"),
    _kind("login", r"(?P<name>\blogin\s{1,4}\S{1,64}\s{1,4}password\s{1,4})\S{1,256}"),
    _kind("sig= key= code= x-amz-", r"(?P<name>[?&](?:sig|key|code|x-amz-[a-z-]{1,32})=)[^\s&\"']{4,}"),
    _kind("pass pwd secret key token _pat credential", rf"(?P<name>(?:{_BY_NAME}){_TO})(?:{_VALUE})", _value),
    _kind(
        "xox xapp xwfp akia asia abia acca gh github_pat_ gl hf_ api_org_ sk- sk_ wandb_v nvapi- aiza ya29. "
        "npm_ pypi- dop_v1_ sg. eyj hvs. dckr_pat_ shp rk_ whsec_",
        rf"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-F]{{2}}))(?-i:{'|'.join(_TOKENS)}){_WRAPPED}",
        _all,
    ),
)
