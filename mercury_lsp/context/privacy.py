"""Which files are never shown to the model: those that by their names hold passwords, tokens and private keys.

Owns the list of names. Looks at names alone, never into files, and would rather refuse one too many.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

FILES = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.pkcs12",
    "*.jks", "*.keystore", "*.keytab", "*.kdbx", "*.gpg", "*.pgp", "*.asc", "*.ovpn", "*.tfvars",
    "*.tfvars.json", "id_rsa", "id_rsa.*", "id_dsa", "id_dsa.*", "id_ecdsa", "id_ecdsa.*",
    "id_ed25519", "id_ed25519.*", ".netrc", "_netrc", ".npmrc", ".yarnrc.yml", ".pypirc",
    ".htpasswd", ".pgpass", ".my.cnf", ".git-credentials", ".dockercfg", ".vault-token", ".boto",
    ".s3cfg", "credentials", "credentials.*", "*credentials.json", "client_secret*.json",
    "service-account*.json", "service_account*.json", "secret", "secret.*", "secrets", "secrets.*",
    "*.secret", "*.secrets",
)  # fmt: skip
FOLDERS = frozenset(
    [".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".password-store", ".secrets"]
)


def is_private(path: str) -> bool:
    """Whether a path, POSIX or Windows, absolute or relative, names a file whose text must stay where it is."""
    *folders, name = path.lower().replace("\\", "/").split("/")
    return not FOLDERS.isdisjoint(folders) or any(fnmatchcase(name, pattern) for pattern in FILES)
