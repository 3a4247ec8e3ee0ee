"""Fake secrets of every detected form, at the places in which people leave secrets.

The texts are assembled from random pieces when the tests run, so that searches for leaked keys do not report this
repository.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + "234567"
BASE64 = LETTERS + "+/"

# The prefix of a token, the alphabet of its rest, and the length of its rest.
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
    """Return one token of each issuer's form."""
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
    """Return a random password like a password manager's."""
    drawn = random_text(dice, LETTERS, 18) + random_text(dice, string.digits, 3) + dice.choice("xkQZ")
    return f"{drawn[:9]}{dice.choice(string.digits)}{drawn[9:]}"


def statements(seed: int = 2) -> Iterator[tuple[str, str]]:
    """Yield lines of code and of settings with a password, and the password."""
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
    """Return a text that looks like a private key in PEM."""
    dice = random.Random(seed)
    body = "\n".join(random_text(dice, BASE64, 64) for _ in range(12))
    return f"-----{'BEGIN'} {kind}PRIVATE {'KEY'}-----\n{body}\n-----{'END'} {kind}PRIVATE {'KEY'}-----\n"


@dataclass(frozen=True)
class Planted:
    """A workspace on the disk: its secrets, and the files that may be used.

    Nothing is suggested in `private` files. `ignored` files are completed, but their text is never used in other files
    or sent to another machine.
    """

    root: Path
    secrets: tuple[str, ...]
    usable: tuple[Path, ...]
    private: tuple[Path, ...]
    ignored: tuple[Path, ...]

    @property
    def forbidden(self) -> tuple[Path, ...]:
        """The files whose text must not be used in other files."""
        return self.private + self.ignored


PRIVATE_FILES = """
.env .env.production config/.env.local web/prod.env.py/.env .envrc server.pem tls/server.key AuthKey_1.p8 id_rsa
id_ed25519 deploy/.ssh/config.py deploy/.aws/credentials credentials.json secrets.yml .netrc .npmrc .pypirc .pgpass
.git-credentials .htpasswd infra/prod.tfvars infra/terraform.tfstate .kube/config.py .docker/config.json wallet.dat
.bash_history .python_history .psql_history app.keystore service-account.json client_secret_1.json .config/gh/hosts.yml
.cargo/credentials.toml .gem/credentials config/master.key kubeconfig local.settings.json appsettings.Secrets.json
project-firebase-adminsdk-1.json .vault_pass wp-config.php .terraformrc key.properties secrets.h
""".split()  # noqa: SIM905
IGNORED_FILES = {
    ".gitignore": ("build/\n*.local.py\n/only_here.py\nlogs/*\n!logs/keep.py\n", [
        "build/out.py", "build/deep/er/out.py", "lib/x.local.py", "only_here.py", "logs/a.py",
    ]),
    "lib/.gitignore": ("generated_*.py\n!x.local.txt\n", ["lib/generated_a.py", "lib/deep/generated_b.py"]),
    "build/.gitignore": ("!out.py\n", []),
    "lib/deep/.mercuryignore": ("*.go\nsub/\n", ["lib/deep/a.go", "lib/deep/sub/b.py"]),
    ".mercuryignore": ("clients/*\n!clients/open.py\n", ["clients/acme.py", "clients/deep/acme.ts"]),
    ".git/info/exclude": ("mine_*.py\n", ["mine_a.py", "lib/mine_b.py"]),
}  # fmt: skip
USABLE_FILES = (
    "main.py", "lib/a.py", "lib/deep/b.py", "web/app.ts", "clients/open.py", "logs/keep.py", "only_here/x.py",
    "secrets.py",
)  # fmt: skip


def workspace(folder: Path, seed: int = 4) -> Planted:
    """Write the workspace: a secret in each private and ignored file and outside, and secrets among other lines."""
    dice, root = random.Random(seed), folder / "w"
    secrets: list[str] = []

    def put(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def hidden(number: int) -> str:
        """Return a harmless-looking secret, so that only the place of its file keeps it from being used."""
        secrets.append(f"hidden_{number}_{random_text(dice, string.ascii_lowercase, 12)}")
        return f"def {secrets[-1]}(total, width):\n    return total * width\n"

    private = [put(root / name, hidden(number)) for number, name in enumerate(PRIVATE_FILES)]
    ignored: list[Path] = []
    for rules, (text, names) in IGNORED_FILES.items():
        put(root / rules, text)
        ignored += [put(root / name, hidden(100 + len(private) + len(ignored))) for name in names]
    for name in ("node_modules/p/index.js", ".venv/lib/x.py", ".git/hooks/x.py", ".hidden/x.py"):
        put(root / name, hidden(200 + len(secrets)))
    for number, name in enumerate(("other/outside.py", ".ssh/key.py", "above.py")):
        put(folder / name, hidden(300 + number))
    (root / "linked.py").symlink_to(folder / "other/outside.py")
    (root / "lib/key.py").symlink_to(folder / ".ssh/key.py")
    (root / "lib/linked").symlink_to(folder / "other")

    literal = [(f'client = connect("{token}")', token) for token in tokens(seed)] + list(statements(seed))
    key = private_key(seed=seed)
    secrets += [secret for _, secret in literal] + key.split("\n")[1:3]
    usable = []
    for number, name in enumerate(USABLE_FILES):
        lines = [f"def area_{number}(total, width):", "    return total * width", ""]
        for line, _ in literal[number :: len(USABLE_FILES)]:
            lines += [
                line,
                "",
                f"def use_{len(lines)}_{number}(client, total):",
                "    return client.send(total)",
                "",
            ]
        usable.append(
            put(root / name, "\n".join(lines) + (f'\nKEY = """{key}"""\n' if number == 1 else "\n"))
        )
    return Planted(root, tuple(secrets), tuple(usable), tuple(private), tuple(ignored))
