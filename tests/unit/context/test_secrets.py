"""Tests of the detection of secrets: texts that look like secrets, and harmless texts."""

from __future__ import annotations

from time import thread_time

import pytest
from support import ROOT
from support import drawn_secrets as drawn
from support import planted_secrets as planted
from support.fuzz_cases import cases

from mercury_lsp.context.secrets import blank_secrets, find_secrets, is_secret

KEYS = [planted.private_key(kind) for kind in ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ")]


@pytest.mark.parametrize("number", range(len(planted.tokens())))
def test_tokens_of_known_forms_are_secrets(number: int) -> None:
    for seed in range(5):
        token = planted.tokens(seed)[number]
        assert is_secret(token), token
        assert is_secret(f'call("{token}")'), token
        (start, end), *_ = find_secrets(f"x = {token}  # here")
        assert end - start >= 16


@pytest.mark.parametrize("line", [line for line, _ in planted.statements()])
def test_values_with_secret_names_are_secrets(line: str) -> None:
    assert is_secret(line)


@pytest.mark.parametrize(
    "line",
    [
        f'{"pass" + "word"} = "{word}"'
        for word in ("Tr0ub4dor&3", "Summer2024!", "p@ssw0rd-of-2x", "h0rse+battery")
    ],
)
def test_typical_passwords_are_secrets(line: str) -> None:
    assert is_secret(line)


@pytest.mark.parametrize("form", drawn.COLLECTIONS)
def test_each_part_of_a_list_or_a_mapping_is_a_secret(form: str) -> None:
    for strict in (False, True):
        for values in drawn.groups(60, 3):
            text = form.format(n="API" + "_KEYS", a=values[0], b=values[1])
            missed = [value for value in values if value in blank_secrets(text, strict)]
            assert not missed, text


@pytest.mark.parametrize(
    "text",
    [
        'const getToken = async (name) => {{\n  return send("{v}")\n}}',
        "password: function () {{ return '{v}' }}",
        'token = headers["{v}"]',
        'secret = load(name, hashes["{v}"])',
        'connect(password=ask(), hashes=["{v}"])',
        'if not password:\n    digest = "{v}"\n',
        'passwords: [a, b]\nhash: "{v}"',
        "api_keys:\n  - a\nhash: {v}\n",
        '[passwords]\n[hashes]\na = "{v}"',
    ],
)
def test_texts_after_a_value_or_in_code_are_no_parts_of_it(text: str) -> None:
    for value, _ in drawn.groups(10, 4):
        assert not is_secret(text.format(v=value)), value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('get(url, auth=("bob", "{}"))', "correct-horse-battery"),
        ("session.auth = (user, '{}')", "correct horse battery"),
        ("'auth' => ['bob', '{}'],", "hunter2" + "pass"),
        ('HTTPBasicAuth("bob", "{}")', "hunter2" + "pass"),
        ("request.basic_auth 'bob', '{}'", "hunter2" + "pass"),
        ('.basic_auth("bob", Some("{}"))', "hunter2" + "pass"),
        ("sshpass -p {} ssh bob@host", "hunter2" + "pass"),
        ("sshpass -p{} ssh bob@host", "hunter2"),
        ("sshpass -p '{}' ssh", "my cat is 12"),
        ('run(["sshpass", "-p", "{}", "ssh"])', "hunter2" + "pass"),
        ("mysql -u root -p{} shop", "hunter2" + "pass"),
        ("redis-cli -h host -a {} ping", "hunter2" + "pass"),
        ("docker login -u bob -p {} registry", "hunter2" + "pass"),
        ("ldapsearch -x -D cn=admin -w {} uid=bob", "hunter2" + "pass"),
        ("postgres://app:{}@host/db", "hunter2" + "pass"),
    ],
)
def test_passwords_that_people_chose_are_found_where_only_passwords_are(line: str, value: str) -> None:
    text = line.format(value)
    assert [text[start:end] for start, end in find_secrets(text)] == [value]


@pytest.mark.parametrize("key", KEYS)
def test_private_keys_are_secrets(key: str) -> None:
    assert is_secret(key) and is_secret(key[:40]) and is_secret(key.split("\n")[3])
    assert blank_secrets(f"before\n{key}after\n") == blank_secrets(
        "before\n" + "\n" * key.count("\n") + "after\n"
    ) or (blank_secrets(f"before\n{key}after\n").split() == ["before", "after"])


INNOCENT = [
    'password = os.environ["PASSWORD"]',
    "password = os.environ.get('DB_PASSWORD', '')",
    'password = "changeme"',
    'password = "<your password>"',
    'PASSWORD="${DB_PASSWORD}"',
    "PASSWORD=$1",
    'api_key = "YOUR_API_KEY_12345"',
    "api_key: xxxxxxxxxxxxxxxxxxxx",
    "token = next_token()",
    "token = self.tokens[self.position]",
    'token = "identifier"',
    'token_url = "https://login.example.com/oauth2/v2.0/token"',
    'TOKEN_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"',
    "const tokenizer = new Tokenizer(text);",
    'self.assertEqual(token, "access_token")',
    'headers["Authorization"] = f"Bearer {token}"',
    "Authorization: Bearer <token>",
    "def check_password(password: str, hashed: str) -> bool:",
    'password: str = ""',
    'raise ValueError("password is too short")',
    '<input type="password" name="password" placeholder="Password">',
    "postgres://user:password@localhost/db",
    "postgres://${USER}:${PASSWORD}@${HOST}/db",
    "git@github.com:owner/repository.git",
    "http://localhost:8080/a@b",
    "# since 8cc93c6f9f3ad4f7f0a9cde2a0f1f0d5be2a7c11",
    'sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"',
    'id = "550e8400-e29b-41d4-a716-446655440000"',
    '"integrity": "sha512-abc"',
    "secretary = people[0]",
    "key = lambda pair: pair[0]",
    'keys = sorted(found, key="size12345678")',
    'primary_key = "customer_id"',
    "import secrets",
    "secrets.token_hex(32)",
    "token_count += 1",
    "max_tokens = 4096",
    "public_key = load(path)",
    'KEY_ENTER = "\\r"',
    'cache_key = f"{user}:{page}"',
    'credentials = "include"',
    "const secret = process.env.CLIENT_SECRET ?? '';",
    'value: "{{ .Values.password }}"',
    'secretKeyRef: {name: "database", key: "password"}',
    "AKIAIOSFODNN7" + "EXAMPLE",
    "std::string_view token = lexer.next();",
    "x = 0x5bd1e9955bd1e9955bd1e9955bd1e995",
    "skiing_lessons_for_everybody_in_the_valley = 1",
    'tokens = ["if", "else"]',
    'keys = ["id", "name"]',
    'PASSWORD_FIELDS = ["password", "pin"]',
    'tokens = {"number": r"[0-9]+(?:\\.\\d*)?", "word": r"(?i)for|to|step|next"}',
    'TOKEN_TYPES = ["INT_LEAST16_T", "C_Null_Funptr", "left_parenthesis"]',
    'credentials = {"region": "eu-central-1", "provider": "google-oauth"}',
    "passwords:\n  - file: ./secrets/db_password_v1.txt\n  - ${DB_PASSWORD_1}\n",
    'auth = ("admin", "editor")',
    'auth = ("user", "password")',
    'auth = (user, os.environ["PASSWORD"])',
    'author = ("Jane Doe", "Pride and Prejudice")',
    'sshpass -p "$PASS" ssh host',
    "sshpass -p <your-password> ssh host",
    "sshpass -e ssh host",
    "mysql -u root -p shop_production",
    "find mysql -print0",
    "docker run --name mysql -p3306:3306 mysql",
    "docker login registry && docker run -p 8080:80 web",
    "postgres://app:mypass@localhost/db",
    "the_quick_brown_fox_jumps_over_the_lazy_dog_and_runs_away_into_the_forest = True",
]


@pytest.mark.parametrize("text", INNOCENT)
def test_harmless_texts_are_not_secrets(text: str) -> None:
    assert not is_secret(text), list(find_secrets(text))


def test_removing_a_secret_keeps_line_numbers() -> None:
    secret, value = next(planted.statements())
    text = f"one\r\n{secret}\nthree"
    cleaned = blank_secrets(text)
    assert cleaned.split("\n")[0] == "one\r" and cleaned.split("\n")[2] == "three"
    assert value not in cleaned and not cleaned.split("\n")[1].strip()
    assert blank_secrets("nothing\nhere") == "nothing\nhere"


def test_letters_that_become_longer_in_lower_case_do_not_shift_the_found_secret() -> None:
    secret, value = next(planted.statements())
    assert value not in blank_secrets("\u0130" * 50 + f"\n{secret}\n")


@pytest.mark.parametrize("form", drawn.FORMS)
def test_random_values_are_found_in_each_form(form: str) -> None:
    count = cases(100)
    missed = [line for line in drawn.lines(form, count, 1) if not is_secret(line)]
    assert len(missed) <= max(1, count // 100), missed[:5]
    missed = [line for line in drawn.lines(form, count, 2) if not any(find_secrets(line, strict=True))]
    assert len(missed) <= max(1, count // 100), missed[:5]


@pytest.mark.parametrize(
    "line",
    [
        "SECRET_KEY = 'django-insecure-1k#8s!@w(z$q0^v7=x3m&n5b)c9d*f2g+h4j'",
        "PASSWORD = 'kR7$wq(9Zp!xT2<vLm4e'",
        "PASSWORD: !!str kR7$wq(9Zp!xT2<vLm4e",
        "API_KEY=9f86d081884c7d659a2feaa0c55ad015 # prod",
        "api_key = 9f86d081884c7d659a2feaa0c55ad015; // prod",
        "db_pw: kR7$wq9Zp!xT2vLm4e",
    ],
)
def test_punctuation_and_comments_do_not_hide_a_secret(line: str) -> None:
    assert is_secret(line) and blank_secrets(line).strip() == ""


@pytest.mark.parametrize(
    "value", ["${DB_PASSWORD}", "$DB_PASSWORD1", "$(pass show db/x1)", "<your-password-1>",
    "{{ vault.pw1 }}", "{pw_1}", "%s", "%(pw1)s", "********", "xxxxxxxxxxxx"]
)  # fmt: skip
def test_placeholders_are_not_secrets(value: str) -> None:
    for line in (f'password = "{value}"', f"PASSWORD={value}", f"password: {value} # from outside"):
        assert not is_secret(line) and not any(find_secrets(line, strict=True)), line


def test_hardly_any_line_of_code_counts_as_a_secret() -> None:
    root = ROOT
    folders = (root / "mercury_lsp", root / "model", root / "editors")
    files = [
        f
        for folder in folders
        for f in folder.rglob("*")
        if f.suffix in (".py", ".ts", ".go", ".rs", ".el", ".lua", ".c", ".md")
    ]
    texts = [file.read_text() for file in files if "node_modules" not in file.parts]
    lines = sum(text.count("\n") for text in texts)
    for strict in (False, True):
        blank = sum(
            one != other
            for text in texts
            for one, other in zip(text.split("\n"), blank_secrets(text, strict).split("\n"), strict=True)
        )
        assert lines > 20_000 and blank <= lines / 1000


@pytest.mark.parametrize(
    "text",
    ["password=" * 2500, "token(" * 4000, "eyJ-" * 6000, "pass='" * 4000, "a://b:" * 4000, "key = {" * 3000,
    "secret" + " " * 20000, "password: " + "a." * 9000, "pw=" + "(" * 20000, "A" * 20000,
     "secret=[" * 3000, "passwords = [" + "'" * 20000, 'secret=["' + '\\"' * 10000, "password:\n - a\n" * 2000,
     "passwords: " + "<[" * 10000, "passwords = {" + '"a": "b",' * 9000, "mysql -p " * 3000, "auth=(a,'" * 3000,
     "docker login " * 2000, "a://b:" + "userpass" * 20 + "-!@" * 3000, "[passwords]\n" + "a = b\n" * 4000],
)  # fmt: skip
def test_hostile_lines_take_little_time(text: str) -> None:
    began = thread_time()
    blank_secrets(text, strict=True)
    assert thread_time() - began < 2
