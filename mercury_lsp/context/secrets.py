"""Text that looks like a password, a key or a token: it is never suggested, and never taken from another file.

Owns what such text looks like. Two things tell: the forms that issuers give their tokens so that they are found, and
a text as if drawn at random (or a password as people make them) where a name says that it is secret. Plain hashes are
not taken for secrets: commits, checksums and test vectors are everywhere in code, and nobody's door opens to them; the
same hash assigned to `api_key` is. Nor are placeholders, and what is read from the environment. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from math import log2
from string import ascii_uppercase

# What is known of the issuers' formats; they change. What is one run of characters, first.
_FORMS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",  # AWS
    r"gh[oprsu]_[A-Za-z0-9]{36}", r"github_pat_[A-Za-z0-9_]{22}",
    r"gl(?:pat|dt|rt|ptt|soat|cbt|ft|imt|agent|oas|ffct)-[\w-]{20}",
    r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10}", r"xapp-\d-[A-Z0-9]+-\d+-",
    r"hooks\.slack\.com/services/T\w+/B\w+/\w{16}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16}", r"whsec_[A-Za-z0-9+/]{24}",  # Stripe
    r"AIza[\w-]{35}", r"GOCSPX-[\w-]{28}", r"ya29\.[\w-]{20}", r"1//0[\w-]{40}",  # Google
    r"npm_[A-Za-z0-9]{36}", r"pypi-[\w-]{50}", r"rubygems_[0-9a-f]{48}", r"oy2[a-z0-9]{43}\b",
    r"cio[A-Za-z0-9]{32}\b", r"dckr_(?:pat|oat)_[\w-]{27}",
    r"sk-(?:proj|svcacct|admin|ant|or|lf)-[\w-]{20}", r"sk-[A-Za-z0-9]{32}", r"hf_[A-Za-z]{34}\b",
    r"gsk_[A-Za-z0-9]{40}", r"r8_[A-Za-z0-9]{37}", r"xai-[A-Za-z0-9]{60}", r"pplx-[A-Za-z0-9]{40}",
    r"SK[0-9a-f]{32}\b", r"SG\.[\w-]{16,}\.[\w-]{16}", r"key-[0-9a-f]{32}\b", r"[0-9a-f]{32}-us\d{1,2}\b",
    r"eyJ[\w-]{10,}\.(?:eyJ)?[\w-]{10,}\.[\w-]{10}", r"ops_eyJ[\w-]{40}",  # JSON web tokens; 1Password
    r"[\w~.]{3}\dQ~[\w~.-]{31}", r"AccountKey=[A-Za-z0-9+/]{40}", r"SharedAccessKey=[A-Za-z0-9+/]{30}",  # Azure
    r"do[opr]_v1_[0-9a-f]{64}", r"dapi[0-9a-f]{32}\b", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    r"sq0(?:atp|csp|idp)-[\w-]{22}", r"\d{8,10}:AA[\w-]{33}\b",  # Square; Telegram
    r"[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27}", r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{60}",
    r"lin_api_[A-Za-z0-9]{40}", r"ntn_[A-Za-z0-9]{40}", r"secret_[A-Za-z0-9]{43}\b", r"figd_[\w-]{40}",
    r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}", r"ATATT3[\w=-]{100}", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    r"NRAK-[A-Z0-9]{27}", r"glsa_[A-Za-z0-9]{32}", r"glc_eyJ[\w+/=]{30}", r"hv[bs]\.[\w-]{24}",
    r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60}", r"dp\.(?:pt|st|ct|scim|audit)\.[\w.-]{40}",
    r"fm2_[\w+/=-]{40}", r"pscale_(?:tkn|pw|oauth)_[\w.-]{32}", r"sbp_[0-9a-f]{40}", r"pul-[0-9a-f]{40}",
    r"sntry[su]_[\w+/=-]{40}", r"AKCp[A-Za-z0-9]{60}", r"EAA[A-Za-z0-9]{90}", r"A{20,}[\w%]{50}", r"sl\.[\w-]{100}",
    r"LTAI[A-Za-z0-9]{16,20}\b", r"AKID[A-Za-z0-9]{32}\b", r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    r"b3BlbnNzaC1rZXktdj[\w+/]{20}",  # how an OpenSSH key begins
)  # fmt: skip
_RUN = re.compile(r"[\w.+/=~:%-]{16,}")
_FORM = re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(_FORMS)})[\w+/=~.%-]*", re.ASCII)
_OTHERS = (
    re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d"),
    re.compile(r"\b[Aa]uthorization\W{1,8}(?:[Bb]asic|[Bb]earer|[Tt]oken) (?P<value>[\w+/=.~-]{12,})"),
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'`<>]*:(?P<value>[^\s/:@\"'`<>]{3,100})@[\w\[]")
_BLOCK = re.compile(r"(?<![\w+/=.-])[A-Za-z0-9+/]{60,}={0,2}(?![\w+/-])")

_NAME = (
    r"(?:passw(?:or)?d|passphrase|passcode|pwd|secret|token|credential"
    r"|(?:api|access|account|auth|private|encryption|signing|master|licen[cs]e|app|shared|storage)[_-]?key)"
)
# Each name has one of these in it.
_STEMS = ("passw", "passphrase", "passcode", "pwd", "secret", "token", "credential", "key")
_LOWER = {ord(letter): letter.lower() for letter in ascii_uppercase}
_ASSIGNED = re.compile(
    # name"] : Type = "value"   name: 'value'   ("name", "value")   name => "value"   "name" value="value"
    rf"{_NAME}[\w.-]{{0,24}}"
    r"(?:[\"'`]?[\])]?[?!]?[ \t]*(?::[ \t]*[\w.<>\[\]|?&* ]{1,40}?)?[ \t]*"
    r"(?:=>|:=|[=!]?={1,2}|\?\?=|\|\|=|:|,|(?<=[\"'] )value=)[ \t]*|\()"
    r"(?:[A-Za-z@$]{0,2}(?P<quote>[\"'`])(?P<value>[^\"'`\s]{8,200})(?P=quote))"
    rf"|{_NAME}[\w.-]{{0,24}}>(?P<element>[^<\s]{{8,200}})<"
    rf"|{_NAME}[\w.-]{{0,24}}[ \t]*[=:][ \t]*(?P<bare>[A-Za-z0-9+/=_~!@%^&*-]{{8,200}})[ \t]*(?=$|[\r\"'])",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"example|change|your|my[_-]|x{3}|\*{3}|\.{3}|placeholder|dummy|fake|sample|todo|redacted|insert|replace|default"
    r"|[<>{}()\[\]]|\$|%[sd(]|^%.*%$|^https?:|^[./~@]|0{6}|12345|abcdef|qwerty|lorem|foobar",
    re.IGNORECASE,
)
_WORDS = frozenset(
    ["pass", "password", "passwd", "pwd", "secret", "token", "user", "admin", "root", "changeit"]
)
_WORD = re.compile(r"[A-Z]?[a-z]{4,}|[A-Z]{4,}")
_PEOPLES = re.compile(
    r"(?=.*[a-z])(?=.*\d)(?=.*[!@#$%^&*+?])[\w!@#$%^&*+?.,-]{8,40}", re.IGNORECASE | re.ASCII
)


def is_secret(text: str) -> bool:
    """Whether there is something in a text that looks like a password, a key or a token."""
    return next(find(text), None) is not None


def find(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of what looks like one, in no order; the name that it is assigned to is not part of it."""
    for run in _RUN.finditer(text):
        for form in _FORM.finditer(text, run.start(), run.end()):
            if not form.group().endswith("EXAMPLE"):
                yield form.span()
    for pattern in _OTHERS:
        for match in pattern.finditer(text):
            if "value" not in pattern.groupindex or _is_random(match["value"]):
                yield match.span()
    if "://" in text:
        for match in _URL.finditer(text):
            value = match["value"].lower()
            if value not in _WORDS and not _PLACEHOLDER.search(value) and not re.search(r"[*%]|pass", value):
                yield match.span("value")
    for match in _BLOCK.finditer(text):
        block = match.group()
        if _mixed(block) and _entropy(block) > 4.5 and not _PLACEHOLDER.search(block):
            yield match.span()
    for start, end in _told(text):
        for match in _ASSIGNED.finditer(text, start, end):
            group = match.lastgroup or "value"
            if _is_random(match[group]) or (group != "bare" and _is_password(match[group])):
                yield match.span(group)


def without(text: str) -> str:
    """A text with each line blank that has a part of something secret in it, so that lines keep their numbers."""
    spans = [_widened(text, start, end) for start, end in find(text)]
    for start, end in spans:
        start, end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
        end = len(text) if end < 0 else end
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    return text


def _told(text: str) -> Iterator[tuple[int, int]]:
    """The lines in which a name may say that something is secret: to find those first is fifty times as quick."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters, such as a dotted capital i, become two
        lower = text.translate(_LOWER)
    ends: set[int] = set()
    for stem in _STEMS:
        at = lower.find(stem)
        while at >= 0:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            if end not in ends:
                ends.add(end)
                yield text.rfind("\n", 0, at) + 1, end
            at = lower.find(stem, end)


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """A private key's span goes on from its head to its foot, or to where the text ends."""
    if text.startswith(("-----BEGIN", "PuTTY"), start):
        foot = re.compile(r"-----END [A-Z0-9 ]*-----|Private-MAC:.*|^\s*$(?<=\n)", re.MULTILINE).search(
            text, end
        )
        end = foot.end() if foot else len(text)
    return start, end


def _is_random(value: str) -> bool:
    """Whether a text is long enough for a key and as if drawn at random."""
    if len(value) < 12 or _PLACEHOLDER.search(value) or value.lower() in _WORDS:
        return False
    digits = sum(character.isdigit() for character in value)
    wordy = sum(len(word) for word in _WORD.findall(value)) / len(value)
    return digits >= 2 and digits < len(value) and wordy <= 0.5 and _entropy(value) >= 3.0


def _is_password(value: str) -> bool:
    """Whether a text is a password as rules for passwords want it: letters, digits and others."""
    return not _PLACEHOLDER.search(value) and _PEOPLES.fullmatch(value) is not None


def _mixed(value: str) -> bool:
    return (
        any(c.isdigit() for c in value)
        and any(c.islower() for c in value)
        and any(c.isupper() for c in value)
    )


def _entropy(value: str) -> float:
    """Bits a character, after Shannon, by how often each comes."""
    return -sum(n / len(value) * log2(n / len(value)) for n in Counter(value).values())
