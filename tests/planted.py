"""Secrets that are none, of every form that is looked for, and where people leave them.

The texts are put together when the tests run, from pieces and at random, so that nobody who searches repositories for
leaked keys takes this one for a find.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + "234567"
BASE64 = LETTERS + "+/"

# A beginning, the rest's alphabet, its length; what comes behind.
FORMS = (
    ("AKI" + "A", UPPER, 16), ("ASI" + "A", UPPER, 16), ("gh" + "p_", LETTERS, 36), ("gh" + "o_", LETTERS, 36),
    ("gh" + "s_", LETTERS, 36), ("github" + "_pat_", LETTERS + "_", 82), ("gl" + "pat-", LETTERS, 20),
    ("gl" + "dt-", LETTERS, 20), ("xox" + "b-", string.digits, 40), ("xox" + "p-", LETTERS, 48),
    ("sk" + "_live_", LETTERS, 24), ("rk" + "_live_", LETTERS, 24), ("wh" + "sec_", LETTERS, 32),
    ("AI" + "za", LETTERS + "_-", 35), ("GOC" + "SPX-", LETTERS, 28), ("ya" + "29.", LETTERS, 60),
    ("np" + "m_", LETTERS, 36), ("py" + "pi-AgEI", LETTERS + "-_", 90), ("rubyg" + "ems_", HEX, 48),
    ("dckr" + "_pat_", LETTERS, 27), ("sk" + "-", LETTERS, 48), ("sk" + "-proj-", LETTERS, 64),
    ("sk" + "-ant-api03-", LETTERS, 93), ("h" + "f_", string.ascii_letters, 34), ("gs" + "k_", LETTERS, 52),
    ("r" + "8_", LETTERS, 37), ("S" + "K", HEX, 32), ("key" + "-", HEX, 32), ("dop" + "_v1_", HEX, 64),
    ("da" + "pi", HEX, 32), ("shp" + "at_", HEX, 32), ("sq0" + "atp-", LETTERS, 22), ("lin" + "_api_", LETTERS, 40),
    ("ntn" + "_", LETTERS, 46), ("NRA" + "K-", string.ascii_uppercase, 27), ("gls" + "a_", LETTERS, 32),
    ("hv" + "s.", LETTERS, 90), ("sbp" + "_", HEX, 40), ("pul" + "-", HEX, 40), ("AGE-SECRET" + "-KEY-1", UPPER, 58),
    ("LTA" + "I", LETTERS, 20), ("pscale" + "_tkn_", LETTERS, 43), ("fig" + "d_", LETTERS, 40),
    ("AKC" + "p", LETTERS, 69),
)  # fmt: skip


def random_text(dice: random.Random, alphabet: str, length: int) -> str:
    return "".join(dice.choice(alphabet) for _ in range(length))


def tokens(seed: int = 1) -> list[str]:
    """One token of each issuer's form."""
    dice = random.Random(seed)
    found = [head + random_text(dice, alphabet, length) for head, alphabet, length in FORMS]
    part = lambda length: random_text(dice, LETTERS, length)  # noqa: E731
    return [
        *found,
        f"ey{'J'}{part(30)}.ey{'J'}{part(60)}.{part(43)}",
        f"S{'G'}.{part(22)}.{part(43)}",
        f"{random_text(dice, HEX, 32)}-us{12}",
        f"{dice.randrange(10**9, 10**10)}:A{'A'}{part(33)}",
        f"{part(3)}7{'Q'}~{part(34)}",
        f"{part(14)}.atlas{'v1'}.{part(64)}",
        f"https://hooks.slack.com/{'services'}/T{part(8)}/B{part(8)}/{part(24)}",
        f"DefaultEndpointsProtocol=https;AccountName=a;Account{'Key'}={random_text(dice, BASE64, 86)}==",
    ]


def password(dice: random.Random) -> str:
    """As if drawn by a password manager."""
    drawn = random_text(dice, LETTERS, 18) + random_text(dice, string.digits, 3) + dice.choice("xkQZ")
    return f"{drawn[:9]}{dice.choice(string.digits)}{drawn[9:]}"


def statements(seed: int = 2) -> Iterator[tuple[str, str]]:
    """Lines of code and of settings that hold a password, and the password."""
    dice = random.Random(seed)
    name = "pass" + "word"
    forms = (
        '{name} = "{value}"', "{name}: '{value}'", '  "{name}": "{value}",', 'const dbPassword: string = "{value}";',
        "PASSWORD={value}", "export API_{TOKEN}={value}", 'var apiKey = "{value}"', 'api_key := "{value}"',
        ":client_secret => '{value}',", 'config["secret_key"] = "{value}"', 'define("DB_PASSWORD", "{value}");',
        '<add key="ApiKey" value="{value}"/>', "<password>{value}</password>", 'connect(user="a", password="{value}")',
        "access_token: {value}", 'static final String SECRET = "{value}";', 'private_key = b"{value}"',
        'setPassword("{value}")', "url = 'postgres://app:{value}@db.internal:5432/app'",
        "amqps://app:{value}@queue.internal", "  Authorization: 'Bearer {value}',", 'String pwd = "{value}";',
        "encryption_key = '{value}'", "auth_token={value}", "credential: '{value}'",
    )  # fmt: skip
    for form in forms:
        value = password(dice)
        yield form.format(name=name, value=value, TOKEN="TOKEN"), value


def private_key(kind: str = "RSA ", seed: int = 3) -> str:
    """Looks like a private key in PEM."""
    dice = random.Random(seed)
    body = "\n".join(random_text(dice, BASE64, 64) for _ in range(12))
    return f"-----{'BEGIN'} {kind}PRIVATE {'KEY'}-----\n{body}\n-----{'END'} {kind}PRIVATE {'KEY'}-----\n"
