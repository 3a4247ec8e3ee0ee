"""Random secrets, in the forms in which they occur in files."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Iterator

ALPHANUMERIC = string.ascii_letters + string.digits
# The alphabet of generators of passwords and of Django's keys, without characters that would end a string.
SIGNS = ALPHANUMERIC + "!#$%&()*+,-./:;<=>?@[]^_{|}~"
NAMES = ("password", "PASSWORD", "db_password", "SECRET_KEY", "api_key", "API_KEY", "apiKey",
"access_token", "client_secret",
         "DB_PASS", "smtp_pw", "dbPassword", "auth_token", "pwd", "AWS_SECRET_ACCESS_KEY", "pass", "pw",
         "secretKey")  # fmt: skip
# {n}: a name, {v}: a value of any characters; the other fields leave out characters that have a meaning in the form.
FORMS = (
    '{n} = "{v}"',
    "{n} = '{v}'",
    "{n}: '{v}'",
    '    "{n}": "{v}",',
    "{n}={w}",
    "{n}={w} # prod",
    "export {n}={w}",
    "{n}: {w}",
    "{n}: {w}  # of the live system",
    "{n} = {w} ; comment",
    "{n}={w};",
    'const {n} = "{v}";',
    "const {n}: string = '{v}';",
    '{n} := "{v}"',
    'connect(user="app", {n}="{v}")',
    '{n} => "{v}",',
    "define('{n}', '{v}');",
    '#define {n} "{v}"',
    'url = "postgres://app:{u}@db.example.org/app"',
    "<{n}>{x}</{n}>",
    '"Server=db;User=app;Password={u};Timeout=5"',
    "ENV {n} {w}",
    "  - {n}={w}",
    "run --password {w} --verbose",
    "curl -u app:{u} https://h/x",
    "static final String {n} = \"{v}\";",
    'Authorization: Bearer {a}',
    'os.environ["{n}"] = "{v}"',
    "machine h login app password {w}",
    "IDENTIFIED BY '{v}'",
    '<property name="{n}" value="{x}"/>',
    "let {n} = `{v}`;",
    '{n} = (\n    "{v}"\n)',
    "const {n} =\r\n  '{v}';",
    'set_{n}(\n    "{v}",\n)',
    "{n}: >-\n  {w}",
    'const key = process.env.{n} || "{v}";',
    'os.environ.get("{n}") or "{v}"',
    'System.getenv("{n}") ?: "{v}"',
    "run --password={w} --verbose",
    '<add key="{n}" value="{x}"/>',
)  # fmt: skip


# Values of several parts, {a} and {b}.
COLLECTIONS = (
    '{n} = ["{a}", "{b}"]',
    "{n} = ('short', '{a}', f'{b}')",
    '{n} = {{"prod": "{a}", "dev": "{b}"}}',
    '{n}: dict[str, str] = {{\n    "prod": "{a}",\n    # don\'t\n    "dev": ["{b}"],\n}}',
    '{n} = frozenset({{"{a}", "{b}"}})',
    '{n} = \\\n    ["short", "{a}", "{b}"]',
    '  "{n}": {{\r\n    "prod": {{"key": "{a}"}},\r\n    "dev": "{b}"\r\n  }}',
    "const {n} = Object.freeze({{ prod: '{a}', dev: '{b}' }});",
    "const {n}: Map<string, string> = new Map([['prod', '{a}'], ['dev', '{b}']]);",
    '{n} := []string{{"{a}", "{b}"}}',
    'var {n} = map[string]string{{\n\t"prod": "{a}",\n\t"dev":  "{b}",\n}}',
    'List<String> {n} = List.of("{a}", "{b}");',
    'String[] {n} = new String[] {{"{a}", "{b}"}};',
    'const char *{n}[] = {{"{a}", "{b}"}};',
    "${n} = array('prod' => '{a}', 'dev' => '{b}');",
    'let {n} = vec!["{a}", "{b}"];',
    'val {n} = listOf("{a}", "{b}")',
    '{n}=("{a}" "{b}")',
    'set_{n}("short", "{a}", "{b}")',
    "{n}:\n  - {a}\n  - '{b}' # dev\n",
    "{n}:\n- short\n- {a}\n- {b}\n",
    "{n}:\n  prod: {a}\n  dev:\n    key: {b}\n",
    '[{n}]\nprod = "{a}"\ndev = {b}\n',
)


def groups(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of different values of letters and digits."""
    dice = random.Random(seed)
    for _ in range(count):
        first, second = ("".join(dice.choices(ALPHANUMERIC, k=24)) for _ in range(2))
        yield f"{first}7x4", f"{second}3k9"


def values(dice: random.Random) -> Iterator[str]:
    """Yield values of all lengths and alphabets that generators use."""
    while True:
        size = dice.choice((16, 20, 24, 32, 40, 50))
        match dice.randrange(5):
            case 0:
                yield "".join(dice.choices(SIGNS, k=size))
            case 1:
                yield "".join(dice.choices(ALPHANUMERIC, k=size))
            case 2:
                yield dice.randbytes(size // 2).hex()
            case 3:
                yield base64.b64encode(dice.randbytes(size * 3 // 4)).decode()
            case _:
                yield base64.urlsafe_b64encode(dice.randbytes(size * 3 // 4)).decode().rstrip("=")


def lines(form: str, count: int, seed: int) -> Iterator[str]:
    """Yield lines of a form, each with a different value."""
    dice = random.Random(f"{form} {seed}")
    for value, _ in zip(values(dice), range(count), strict=False):
        kept = {
            "v": value,
            "w": "".join(c if c not in " #;\"'`,(>=:" else "x" for c in value[:1])
            + value[1:].replace(" ", "x"),
            "u": "".join(c if c not in "/:@;&\"'`<>" else "-" for c in value),
            "x": "".join(c if c not in '<&>"' else "-" for c in value),
            "a": "".join(c if c in ALPHANUMERIC + "-._~+/=" else "-" for c in value),
        }
        yield form.format(n=dice.choice(NAMES), **kept)
