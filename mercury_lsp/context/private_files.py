"""Recognizes files that usually hold passwords, tokens or private keys by their paths; the model never sees them.

Only the path is examined, and a false positive is better than a false negative. But source code is not private
whatever its name: Python has a module `secrets.py`, and programs that handle keys have files named after them. So names
that are only a hint (`SUGGESTIVE_NAMES`), such as `secrets` and `credentials`, are private without an extension or with
that of data, but not with one of `CODE_EXTENSIONS`; the module `secrets` finds literal keys in code.
"""

from __future__ import annotations

import re
from fnmatch import translate

PRIVATE_NAMES = (
    # environments
    ".env", ".env.*", ".env-*", ".env_*", "*.env", "*.env.local", "*.env.*.local", ".envrc", ".flaskenv",
    ".dev.vars",
    ".dev.vars.*", "env.local", "env.development", "env.dev", "env.staging", "env.production", "env.prod",
    "appsettings.production.json", "appsettings.staging.json",
    # keys and their stores
    "*.pem", "*.key", "*.ppk", "*.p8", "*.p12", "*.pfx", "*.pkcs12", "*.pk8", "*.pvk", "*.jks", "*.jceks",
    "*.bks", "*.keystore", "*.keytab", "*.kdb", "*.kdbx", "*.psafe3", "*.agilekeychain", "*.opvault",
    "*.keychain", "*.keychain-db", "*.gpg", "*.pgp", "*.asc", "*.age", "*.sops", "secring.*", "*.snk",
    "*.mobileprovision", "*.provisionprofile", "*.certsigningrequest", "id_rsa", "id_rsa.*",
    "id_dsa", "id_dsa.*", "id_ecdsa", "id_ecdsa.*", "id_ecdsa_sk", "id_ed25519", "id_ed25519.*",
    "*_rsa", "*_dsa", "*_ed25519", "*_ecdsa", "ssh_host_*_key", "*.ovpn", "wg[0-9].conf",
    "key.properties", "keystore.properties", "signing.properties", "master.key", "master.key.*",
    "pip.conf", "pip.ini", "auth.json", "kube_config", "kube-config", "kube_config.y*ml",
    "kube-config.y*ml", "kube_config.json", "admin.conf", "token.txt", "tokens.txt", "*.jwt",
    "*_token.txt", "*-token.txt", "*.secret.txt", "*.pw", "otr.private_key", "wallet.dat", "wallet.json",
    "utc--*", "keyfile", "keyfile.json",
    # accounts in tools' own files
    ".netrc", "_netrc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".htpasswd", "htpasswd", ".htdigest",
    ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".git-credentials", ".git-credential-store",
    ".dockercfg", ".dockerconfigjson", ".vault-token", ".vault-pass", ".vault_pass", "vault_pass.txt",
    "vault-password*", ".boto", ".s3cfg", ".passwd-s3fs", ".fetchmailrc", ".msmtprc", ".esmtprc",
    ".pgsyncrc", ".remote-sync.json", ".ftpconfig", "sftp-config.json", "sftp.json", "filezilla.xml",
    "sitemanager.xml", "recentservers.xml", "winscp.ini", "*.rdp", "*.rdg", ".terraformrc", "terraform.rc",
    "credentials.tfrc.json", ".databrickscfg", ".snowsql", ".clickhouse-client*", ".tugboat",
    ".cloudflared.json", ".jupyter_token", ".kaggle.json", "kaggle.json", ".hubconfig", ".lftprc",
    ".muttrc", ".mutt_*", ".rclone.conf", "rclone.conf", "kubeconfig", "kubeconfig.*", "*.kubeconfig",
    "*-kubeconfig.y*ml", "kubelet.conf", "robomongo.json", "dbeaver-data-sources.xml",
    "datasources.local.xml", "data-sources.local.xml", "settings-security.xml", ".sentryclirc",
    ".huggingface", "jenkins.plugins.publish_over_ssh.bapsshpublisherplugin.xml", "*.publishsettings",
    "*.pubxml.user", "*.azureauth",
    # state and settings with plain-text passwords
    "*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json", "*.tfplan", "appsettings.secrets.json",
    "appsettings.local.json", "local.settings.json", "localsettings.php", "wp-config.php",
    "wp-config-*.php", "secrets.*.y*ml", "*-secrets.y*ml", "*-secret.y*ml", "*.secrets.y*ml",
    "*.secrets.json", "application-secret*.properties", "application-secret*.y*ml", "passwords",
    "passwd.txt", "secrets.h", "arduino_secrets.h", "password", "password.txt",
    "credentials.xml", "shadow", "shadow-", "gshadow", "gshadow-",
    # cloud accounts
    "*credentials.json", "*credentials.csv", "accesskeys.csv", "rootkey.csv", "*_accesskeys.csv",
    "client_secret*.json", "client-secret*.json", "service-account*.json", "service_account*.json",
    "serviceaccount*.json", "*-service-account.json", "*firebase-adminsdk*.json", "firebase-key*.json",
    "google-services.json", "googleservice-info.plist", "gcp-key*.json", "gcloud-key*.json",
    "gha-creds-*.json", "application_default_credentials*", "access_tokens.db", "credentials.db",
    "authkey_*.p8", "azureprofile.json", "msal_token_cache*", "accesstokens.json", "publishprofile.xml",
    # histories of shells and browsers
    ".*_history", ".*-history", ".histfile", "consolehost_history.txt", "fish_history", ".lesshst",
    ".viminfo", "logins.json", "key[34].db", "cookies.sqlite", "login data", "cookies.txt",
    "signons.sqlite",
)  # fmt: skip
SUGGESTIVE_NAMES = (
    "secret", "secrets", "credential", "credentials", "creds", "api_key", "api_keys", "apikey", "apikeys",
    "api-keys", "private_key", "privatekey", "private-key", "access_token", "auth_token", "tokens",
    "passwords",
)  # fmt: skip
CODE_EXTENSIONS = frozenset(
    ["py", "pyi", "pyw", "pyx", "js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "go", "rs", "c", "h",
     "cc", "cpp", "cxx", "hh", "hpp", "hxx", "cu", "cuh", "java", "kt", "kts", "scala", "sc", "groovy",
     "cs", "fs", "vb", "sh", "bash", "zsh", "fish", "ps1", "php", "phtml", "rb", "rake", "erb", "swift",
     "m", "mm", "dart", "lua", "pl", "pm", "r", "jl", "ex", "exs", "erl", "hrl", "clj", "cljs", "hs", "ml",
     "mli", "elm", "nim", "zig", "v", "d", "pas", "sql", "proto", "graphql", "vue", "svelte", "astro",
     "html", "htm", "css", "scss", "less", "md", "rst", "adoc", "tf", "hcl", "nix", "cmake", "asm", "s",
     "vim", "el", "lisp", "scm", "sol", "gd", "f90", "f95", "tcl", "awk", "t"]
)  # fmt: skip
PRIVATE_FOLDERS = frozenset(
    [".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".password-store", ".secrets",
     ".chef", ".oci", ".bluemix", ".aliyun", ".tccli", ".doctl", ".fly", ".vault", ".terraform.d",
     ".bitcoin", ".ethereum", ".electrum", ".monero", ".mozilla", ".thunderbird", ".ngrok2", ".sops",
     ".1password", ".lastpass", ".keychain", "keychains", ".minikube"]
)  # fmt: skip
# Files whose names alone are no hint, in the folders of tools: the last parts of the path.
PRIVATE_PATH_ENDS = (
    ".git/config", ".git/config.worktree", ".git/modules/*/config", ".config/gh/hosts.yml", ".config/hub",
    ".config/gcloud/*", "gcloud/credentials.db",
    ".config/doctl/config.yaml", ".config/rclone/*", ".config/sops/*", ".config/op/*",
    ".config/github-copilot/*", ".config/glab-cli/config.yml", ".config/configstore/*", ".config/heroku/*",
    ".config/stripe/*", ".config/hcloud/*", ".config/containers/auth.json", ".config/pip/pip.conf",
    ".config/git/credentials", ".config/filezilla/*", ".config/google-chrome/*", ".cargo/credentials",
    ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml", ".gradle/gradle.properties",
    ".composer/auth.json", "composer/auth.json", ".bundle/config", ".circleci/cli.yml",
    ".travis/config.yml", ".cabal/config", ".pip/pip.conf", ".huggingface/token", "huggingface/token",
    ".kaggle/*.json", ".jupyter/*cookie_secret", ".subversion/auth/*", ".local/share/keyrings/*",
    ".databricks/token-cache.json", ".config/fly/config.yml", ".vnc/passwd", ".purple/accounts.xml",
    ".config/hexchat/*", ".irssi/config", ".weechat/irc.conf", ".wakatime.cfg", ".nuget/nuget/nuget.config",
    ".sbt/*credentials", ".ivy2/.credentials", ".lein/credentials.clj", ".hex/hex.config",
    ".pub-cache/credentials.json", ".claude/.credentials.json", "microsoft/usersecrets/*",
    ".microsoft/usersecrets/*", "etc/shadow", "etc/gshadow", "etc/sudoers", "etc/ssl/private/*",
    "etc/ppp/*-secrets", "etc/wireguard/*", "config/master.key", "config/credentials/*",
    "config/database.local.yml", ".idea/datasources.local.xml", ".idea/webservers.xml",
    ".idea/data-sources.local.xml", ".vscode/sftp.json", ".streamlit/secrets.toml", "run/secrets/*",
    "var/run/secrets/*",
)  # fmt: skip

# SSH keys with any suffix, except the extensions of code.
_SSH = re.compile(r"id_(?:rsa|dsa|ecdsa|ed25519|xmss)(?:[_\-. @+].*|_sk|\d*)?")
# Prefixes and suffixes of backup copies, by editors and people.
_BACKUP = re.compile(
    r"(?P<before>[.#]*#|\.#|~\$|copy of |kopie von )?(?P<name>.+?)"
    r"(?P<behind>~\d*~?|#|[._-](?:bak|backup|bkp|old|orig|original|save|saved|sav|copy|tmp|temp|swp|swo|swn|rej|dist|disabled|txt|\d{1,8}"
    r"|\d{4}-\d\d-\d\d)| ?\(\d+\)| copy| - copy)?"
)
_NAME = re.compile("|".join(map(translate, PRIVATE_NAMES)))
_END = re.compile("|".join(f".*/{translate(end)}" for end in PRIVATE_PATH_ENDS))


def is_private(path: str) -> bool:
    """Return whether a path, POSIX or Windows, absolute or relative, is that of a private file."""
    path = path.lower().replace("\\", "/")
    *folders, name = path.split("/")
    if not PRIVATE_FOLDERS.isdisjoint(folders) or _NAME.match(name) or _END.match(f"/{path}"):
        return True
    if _SSH.fullmatch(name) and name.rpartition(".")[2] not in CODE_EXTENSIONS:
        return True
    if (whole := _BACKUP.fullmatch(name)) and whole["name"] != name:
        return is_private("/".join([*folders, whole["name"]]))
    first, _, rest = name.lstrip("._").partition(".")
    code = rest.rpartition(".")[2] in CODE_EXTENSIONS
    return (first in SUGGESTIVE_NAMES and not code) or name.endswith((".secret", ".secrets"))
