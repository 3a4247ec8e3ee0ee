"""Finds text that looks like a password, a key or a token, which is never suggested or taken from another file.

There are three criteria: the formats by which issuers make their tokens recognizable; a value that looks random, or
like a typical password, and is assigned to a telling name, also as a part of a list or a mapping; and a place where
only passwords are, such as the argument of `sshpass -p`. A hash alone is no secret, because commits, checksums and
test vectors are frequent in code; the same hash assigned to `api_key` is one. Placeholders and values read from the
environment are no secrets either.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log2
from string import ascii_lowercase, ascii_uppercase, digits

from mercury_lsp.context.nested_values import find_parts

# Issuers' formats as far as they are known; they change. Here those that are one run of characters.
_TOKEN_FORMATS = (
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
    r"b3BlbnNzaC1rZXktdj[\w+/]{20}",  # start of an OpenSSH key
)  # fmt: skip
_RUN = re.compile(r"[\w.+/=~:%-]{16,}")
_TOKEN_FORMAT = re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(_TOKEN_FORMATS)})[\w+/=~.%-]*", re.ASCII)
_HEADERS = (
    re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d"),
    re.compile(r"\b[Aa]uthorization\W{1,8}(?:[Bb]asic|[Bb]earer|[Tt]oken) (?P<value>[^\s\"'`]{12,400})"),
)
_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'`<>]{0,100}:(?P<value>[^\s/:@\"'`]{3,200})@[\w\[]"
)
_FOOTER = re.compile(r"-----END [A-Z0-9 ]*-----|Private-MAC:.*|^\s*$(?<=\n)", re.MULTILINE)
_BLOCK = re.compile(r"(?<![\w+/=.-])[A-Za-z0-9+/]{60,4000}={0,2}(?![\w+/-])")
# A longer run counts as a secret without a search for each format, because people do not write such runs.
_MAX_RUN_CHARACTERS = 4_000

_CLEAR_NAME = (
    r"(?:passw(?:or)?d|passphrase|passcode|passwort|pwd|secret|credential"
    r"|(?:api|access|account|auth|private|encryption|signing|master|licen[cs]e|app|shared|storage|client|session|cipher"
    r"|webhook|fernet|crypt|stripe|service|security|deploy)[_.-]?key"
    r"|(?:(?<![A-Za-z])(?:pass|pw)|(?-i:(?<=[a-z])(?:Pass|PASS|Pw|PW)))(?![A-Za-z]))"
)
_NAME = rf"(?:{_CLEAR_NAME}|token|bearer|jwt)"
# For text that leaves the machine, every name with "key" counts.
_STRICT_NAME = (
    rf"(?:{_NAME}|(?<![a-z])key(?![a-z])|(?-i:(?<=[a-z])Key)(?![a-z])|auth(?![a-z])|salt|cookie|hmac|dsn\b)"
)
# Each of the names contains one of these.
_NAME_STEMS = ("pass", "pwd", "pw", "secret", "token", "credential", "key", "bearer", "jwt")
_STRICT_NAME_STEMS = (*_NAME_STEMS, "auth", "salt", "cookie", "hmac", "dsn")
# The end of a line whose name has its value in the next one.
_GOES_ON = re.compile(r"[=:|>(\[{\\?][-+\d]{0,2}[ \t\r]{0,9}\Z|\bor\s*\Z")
_LOWER = {ord(letter): letter.lower() for letter in ascii_uppercase}


def _compile_assignment(name: str) -> re.Pattern[str]:
    """Compile an expression that finds values assigned to such names, also in the next line, as formatters write them.

    Each part has a bounded length, so that the time is not quadratic in the names of a line.
    """
    label = rf"{name}[\w.-]{{0,24}}"
    next_line = r"(?:[(\[{\\]?[ \t]{0,9}+\r?\n[ \t]{0,80}+)?"
    between = (
        # name"] : Type = "value"   name: 'value'   ("name", "value")   name => "value"   "name" value="value"
        r"(?:[\"'`]?[\])]?[?!]?[ \t]{0,9}(?::[ \t]{0,9}[\w.<>\[\]|?&* ]{1,40}?)?[ \t]{0,9}"
        rf"(?:(?:=>|:=|[=!]?={{1,2}}|\?\?=?|\|\|=?|\?:|or\b|->|:)[ \t]{{0,40}}+{next_line}"
        rf"|(?:,|(?<=[\"'] )value=)[ \t]{{0,40}}+)|\([ \t]{{0,9}}+{next_line}|[ \t]{{1,9}})"
    )
    quoted = (
        r"(?:[A-Za-z@$]{0,2}(?P<quote>[\"'`])(?P<value>(?:\\[^\s]|(?!(?P=quote))[^\s\\]){8,400})(?P=quote))"
    )
    bare = r"(?P<bare>[^\s\"'`=:,>(][^\s]{7,400})"
    tag = r"(?:!{1,2}\w{1,20}[ \t]{1,9})?(?:[|>][-+\d]{0,2}[ \t]{0,9}+\r?\n[ \t]{1,80}+)?"  # YAML's, and its blocks
    ends = r"(?=[ \t]{0,40}(?:$|[\r\n]|[ \t](?:\#|//|;|--|/\*|<!--|\\[\r\n])))"
    spaced = r"(?<=[ \t\-])|^"
    return re.compile(
        rf"{label}{between}{quoted}"
        rf"|{label}>(?P<element>[^<\s]{{8,400}})<"
        rf"|{label}[\"']?[ \t]{{0,9}}(?::=|[=:]{{1,2}})[ \t]{{0,40}}{tag}{bare}{ends}"
        rf"|{label}[ \t]{{0,9}}=[ \t]{{0,9}}(?P<inner>[^\s\"'`;&]{{8,400}})(?=[\"'`;&])"
        rf"|{label}=(?P<argument>[^\s\"'`=;&][^\s\"'`;&]{{7,400}})(?=[ \t])"
        rf"|(?:{spaced})[\w.-]{{0,24}}?{label}[ \t]{{1,9}}(?P<word>[^\s\"'`=:]\S{{11,400}})",
        re.IGNORECASE | re.MULTILINE,
    )


def _compile_value_start(name: str) -> re.Pattern[str]:
    """Compile an expression that ends where a value of several parts, with such a name, may begin."""
    annotation = r":[ \t]{0,9}(?:[\w.|?&* ]|<[^<>\n]{0,40}>|\[[^\[\]\n]{0,40}\]){1,40}?"
    return re.compile(
        rf"(?:(?P<clear>{_CLEAR_NAME})|{name})[\w.-]{{0,24}}(?:\[\w{{0,9}}\])?[\"'`]?[\])]?[?!]?[ \t]{{0,9}}"
        rf"(?:{annotation})?"
        r"(?:=>|:=|[+?|]{0,2}=(?!=)|->|:|,|(?=[({])|\][ \t]{0,9}(?=$|\r))",
        re.IGNORECASE | re.MULTILINE,
    )


_ASSIGNED = _compile_assignment(_NAME)
_STRICT_ASSIGNED = _compile_assignment(_STRICT_NAME)
_VALUE_START = _compile_value_start(_NAME)
_STRICT_VALUE_START = _compile_value_start(_STRICT_NAME)
_PART = re.compile(r"\S{8,400}")
# Lists of tokens are frequent in lexers, and lists of keys everywhere.
_DRAWN_PART = re.compile(r"(?=[^\d]*\d+[^\d]+\d)[\w+/=.~:-]{12,400}", re.ASCII)
_USER = re.compile(r"(?:\s-u|--user)[ =]{1,3}[\"']?[\w.@-]{1,60}:(?P<value>[^\s\"']{8,200})")
# auth=("bob", "value")   'auth' => ['bob', 'value']   HTTPBasicAuth("bob", "value")
# basic_auth 'bob', 'value'   basic_auth(user, Some("value"))
_BASIC_AUTH = re.compile(
    r"(?:(?<![a-z])auth[\"']?[ \t]{0,3}(?:=>\s{0,3}\[|[=:,]\s{0,3}\()"
    r"|(?:basic|digest|ntlm|proxy)_?auth(?:\.new)?[( ])"
    r"\s{0,80}(?:[A-Za-z_][\w.]{0,60}|b?\"[^\"\s]{1,100}\"|b?'[^'\s]{1,100}'),\s{0,80}"
    r"(?:Some\()?b?(?P<quote>[\"'])(?![A-Za-z]+[\"'])(?P<value>[^\n\"'\\]{6,200})(?P=quote)",
    re.IGNORECASE,
)
# Passwords among the arguments of a program, in a line of a shell or in a list of strings.
_GAP = r"[ \t\"',]{1,6}"
_ARGUMENTS = r"[^\n|;&]{0,200}?"
_COMMAND = re.compile(
    rf"(?<![\w/-])(?:sshpass{_GAP}(?:-[ev]{_GAP})?-p|redis-cli\b{_ARGUMENTS}{_GAP}-a{_GAP}"
    rf"|(?:docker|podman|helm|az|oc|nerdctl)\b{_ARGUMENTS}{_GAP}login\b{_ARGUMENTS}{_GAP}-p{_GAP}"
    rf"|ldap(?:search|modify|add|delete|passwd|whoami)\b{_ARGUMENTS}{_GAP}-w{_GAP}"
    rf"|(?:mysql|mysqldump|mysqladmin|mysqlimport|mariadb|mariadb-dump)\b{_ARGUMENTS}{_GAP}-p(?!rint)(?=[^\s\"',]))"
    r"[ \t\"',]{0,6}(?P<value>(?<=\")[^\"\n]{4,200}(?=\")|(?<=')[^'\n]{4,200}(?=')|[^\s\"'`]{4,200})"
)
# Each match contains one of these.
_AUTH_STEMS = ("auth", "Auth", "AUTH")
_COMMAND_STEMS = ("sshpass", "redis-cli", "login", "ldap", "mysql", "mariadb")
_IDENTIFIED = re.compile(
    r"\bIDENTIFIED\s{1,9}BY\s{1,9}(?P<quote>[\"'])(?P<value>[^\s]{8,200}?)(?P=quote)", re.IGNORECASE
)

# A placeholder that is the whole value: ${X} $X $(x) <X> {{X}} {x} %s %(x)s %X% [x] *** xxx ...
_WHOLE_PLACEHOLDER = re.compile(
    r"\$\{[^}]*\}|\$\(.*\)|\$[A-Za-z_][\w.]*|<[\w .:/-]*>|\{\{.*\}\}|\{[\w .:!()\[\]-]*\}"
    r"|%[sdr]|%\(\w+\)s|%\w+%|\[[\w .-]*\]|\#\{[^}]*\}"
    r"|@[A-Za-z][\w.-]*|(?:\*|x|X|\.|-|_|0|\?|\#|•)+"
)
# A placeholder within a value, which is judged without it.
_EMBEDDED_PLACEHOLDER = re.compile(
    r"\$\{[A-Za-z_][^{}]{0,60}\}|\{\{[^{}]{1,60}\}\}"
    r"|\{[A-Za-z_][\w.]{0,40}(?:\([^(){}]{0,40}\)|\[[^\[\]{}]{0,40}\])?(?:![rsa])?(?::[^{}]{0,12})?\}"
    r"|<[A-Za-z][\w -]{2,40}>|%\([A-Za-z]\w{1,40}\)s|\$\([a-z][^()]{2,60}\)|\#\{[^{}]{1,60}\}"
)
_PLACEHOLDER_WORD = re.compile(
    r"example|change[_-]?(?:me|it|this)|your|my[_-]|x{4}|\*{3}|placeholder|dummy|fake|sample|todo|redacted|insert|replace"
    r"|default|12345678|abcdefg|qwerty|lorem|foobar|^https?:|test",
    re.IGNORECASE,
)
# A password that consists of nothing but such words is a placeholder.
_PLACEHOLDER_WORDS = re.compile(
    r"(?>[\W\d_]|password|passphrase|passcode|passwd|pass|pwd|pw|secret|token|key|username|user|admin|root|guest|login"
    r"|account|auth|basic|client|server|api|app|db|database|postgres|mysql|redis|mongo|elastic|my|your|the|some|any|new"
    r"|old|here|value|string|name|id|change|it|me|foo|bar|x)+",
    re.IGNORECASE,
)
# Whole paths, and whole expressions of code: a name or a number, then calls, indices and attributes.
_PATH = re.compile(
    r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\][\w.@{}$*-]*(?:[/\\][\w.@{}$*-]*)*|[\w-]+(?:/[\w-]+)*\.[a-z]{1,5}"
)
_EXPRESSION = re.compile(
    r"[!&*-]?[A-Za-z_$][\w$]*(?:(?:\.|\?\.|->|::)[A-Za-z_$][\w$]*)*"
    r"(?P<more>[.(\[{<][^\n]*[)\]}>;?])?[;,]?"
)
_COMMON_WORDS = {"pass", "password", "passwd", "pwd", "secret", "token", "user", "admin", "root", "changeit"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
# A part of a regular expression.
_CHARACTER_RANGE = re.compile(r"A-Z|a-z|0-9|\\[dwsbS]")
_CHARACTER_CLASSES = str.maketrans(ascii_lowercase + ascii_uppercase + digits, "a" * 26 + "A" * 26 + "0" * 10)
_DIGITS = re.compile("0+")
_HUMAN_PASSWORD = re.compile(r"[\w!@#$%^&*+?.,-]{8,40}", re.ASCII)
_SPECIAL_CHARACTERS = frozenset("!@#$%^&*+?~=|\\<>(){}[];,'\"`")


def is_secret(text: str) -> bool:
    """Return whether a text contains what looks like a password, a key or a token."""
    return next(find_secrets(text), None) is not None


def find_secrets(text: str, strict: bool = False) -> Iterator[tuple[int, int]]:
    """Yield start and end of each likely secret, in no order and without the name to which it is assigned.

    `strict`: also find less likely ones, for text that leaves the machine.
    """
    for run in _RUN.finditer(text):
        if run.end() - run.start() > _MAX_RUN_CHARACTERS:
            yield run.span()
            continue
        for token in _TOKEN_FORMAT.finditer(text, run.start(), run.end()):
            if not token.group().endswith("EXAMPLE"):
                yield token.span()
    for pattern in _HEADERS:
        for match in pattern.finditer(text):
            if "value" not in pattern.groupindex or _looks_random(match["value"], strict):
                yield match.span()
    if "://" in text:
        for match in _URL.finditer(text):
            if not _is_placeholder(match["value"]):
                yield match.span("value")
    for pattern, stems in ((_BASIC_AUTH, _AUTH_STEMS), (_COMMAND, _COMMAND_STEMS)):
        for match in pattern.finditer(text) if any(stem in text for stem in stems) else ():
            if not _is_placeholder(match["value"]):
                yield match.span("value")
    for match in _BLOCK.finditer(text):
        block = match.group()
        classes = set(block.translate(_CHARACTER_CLASSES))
        if classes.issuperset("aA0") and _entropy(block) > 4.5 and not _PLACEHOLDER_WORD.search(block):
            yield match.span()
    for pattern in (_USER, _IDENTIFIED):
        for match in pattern.finditer(text):
            if _looks_random(match["value"], True):
                yield match.span("value")
    assigned = _STRICT_ASSIGNED if strict else _ASSIGNED
    value_start = _STRICT_VALUE_START if strict else _VALUE_START
    clear_starts: set[int] = set()
    other_starts: set[int] = set()
    for start, end in _suspicious_lines(text, _STRICT_NAME_STEMS if strict else _NAME_STEMS):
        at = start
        while (assignment := assigned.search(text, at, end)) is not None:
            group = assignment.lastgroup or "value"
            value = assignment[group]
            if group in ("bare", "word"):
                value = value.rstrip(";,\"'`)>") if not value.endswith(("()", "]")) else value
            code = group in ("bare", "word", "inner", "argument")
            if _looks_random(value, strict and group != "word", code):
                yield assignment.start(group), assignment.start(group) + len(value)
                at = assignment.end()
            else:
                # The value may itself be the next name.
                at = max(assignment.start(group), assignment.start() + 1)
        for match in value_start.finditer(text, start, end):
            (clear_starts if match["clear"] else other_starts).add(match.end())
    for starts, form in ((clear_starts, _PART), (other_starts, _DRAWN_PART)):
        for part in find_parts(text, starts):
            value = text[part.start : part.end]
            expected = form if part.quoted else _DRAWN_PART
            code = expected is _DRAWN_PART
            if (
                expected.fullmatch(value)
                and not _PATH.fullmatch(value)
                and _looks_random(value, strict, code)
            ):
                yield part.start, part.end


def blank_secrets(text: str, strict: bool = False) -> str:
    """Return a text in which each line with a part of a secret is blank, so that the lines keep their numbers."""
    pieces: list[str] = []
    at = 0
    for start, end in sorted(
        _extend_to_footer(text, start, end) for start, end in find_secrets(text, strict)
    ):
        start, end = max(at, text.rfind("\n", 0, start) + 1), text.find("\n", end)
        end = len(text) if end < 0 else end
        if end > start:
            pieces += [text[at:start], re.sub(r"[^\n]", " ", text[start:end])]
            at = end
    return "".join([*pieces, text[at:]])


def _suspicious_lines(text: str, stems: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each line with a stem of a telling name. This makes the search 50 times as fast.

    The span includes the next line if the value may be there.
    """
    lower = text.lower()
    # The lower case of a few letters, such as a dotted capital I, is two letters.
    if len(lower) != len(text):
        lower = text.translate(_LOWER)
    ends: set[int] = set()
    for stem in stems:
        at = lower.find(stem)
        while at >= 0:
            end = _line_end(text, at)
            if end not in ends:
                ends.add(end)
                goes_on = _GOES_ON.search(text, max(at, end - 12), end)
                yield text.rfind("\n", 0, at) + 1, _line_end(text, end + 1) if goes_on else end
            at = lower.find(stem, end)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _extend_to_footer(text: str, start: int, end: int) -> tuple[int, int]:
    """Extend the span of a private key's header to its footer, or to the end of the text."""
    if text.startswith(("-----BEGIN", "PuTTY"), start):
        foot = _FOOTER.search(text, end)
        end = foot.end() if foot else len(text)
    return start, end


def _is_placeholder(password: str) -> bool:
    """Return whether a text where only passwords are is none: a variable, or only words such as `pass`."""
    return bool(
        _WHOLE_PLACEHOLDER.fullmatch(password)
        or _PLACEHOLDER_WORD.search(password)
        or _PLACEHOLDER_WORDS.fullmatch(password)
    )


def _looks_random(value: str, strict: bool = False, code: bool = False) -> bool:
    """Return whether a value looks random, or like a password by common rules, and is no placeholder.

    `code`: the value is not quoted, so it may be an expression.
    """
    if (
        _WHOLE_PLACEHOLDER.fullmatch(value)
        or value.lower() in _COMMON_WORDS
        or _CHARACTER_RANGE.search(value)
    ):
        return False
    if code and (match := _EXPRESSION.fullmatch(value)) and _is_code(match):
        return False
    value = _EMBEDDED_PLACEHOLDER.sub("", value)
    size = len(value)
    if size < 8 or _PLACEHOLDER_WORD.search(value):
        return False
    classes = value.translate(_CHARACTER_CLASSES)
    digit_count = classes.count("0")
    special_count = sum(character in _SPECIAL_CHARACTERS for character in value)
    letters = classes.count("a") + classes.count("A")
    if digit_count == size or not letters:
        return False
    changes = sum(one != other for one, other in pairwise(classes))
    digit_groups = len(_DIGITS.findall(classes))
    # Words have four letters and more; in random letters, every second one begins a new word.
    mean_word_length = letters / len(_WORD.findall(value))
    unlike_words = mean_word_length < 4.2 or digit_groups >= 3
    if size < 12:
        class_count = ("a" in classes) + ("A" in classes) + (digit_count > 0) + (special_count > 0)
        varied = class_count >= (2 if strict else 3) and digit_count > 0 and changes >= 3
        return varied and (special_count > 0 or digit_groups > 1) and (unlike_words or not code)
    if not unlike_words and (
        code
        or _PATH.fullmatch(value)
        or not (special_count and digit_count and _HUMAN_PASSWORD.fullmatch(value))
    ):
        return False
    return _entropy(value) >= 2.5 and (
        digit_count > 0 or special_count > 1 or ("a" in classes and "A" in classes and changes >= 0.3 * size)
    )


def _is_code(match: re.Match[str]) -> bool:
    """Return whether a match of `_EXPRESSION` is code; in random text the brackets do not match."""
    text = match.group()
    if not match["more"]:
        return any(sign in text for sign in (".", "->", "::"))
    return all(text.count(opener) == text.count(closer) for opener, closer in ("()", "[]", "{}"))


def _entropy(value: str) -> float:
    """Return the Shannon entropy of a text's characters, in bits per character."""
    return -sum(n / len(value) * log2(n / len(value)) for n in Counter(value).values())
