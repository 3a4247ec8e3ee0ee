"""Tests of names of private files, which the model must not read."""

from __future__ import annotations

import pytest

from mercury_lsp.context.private_files import is_private

PRIVATE = """

.env .env.production prod.env /home/a/project/.ENV C:\\Users\\a\\.env.local app.env.local .envrc .dev.vars server.pem
tls/private.key store.P12 AuthKey_AB12.p8 app.mobileprovision android/release.jks key.properties vault.kdbx
/home/a/.ssh/config id_rsa id_ed25519.pub deploy_rsa .netrc _netrc .npmrc .pypirc .htpasswd .pgpass
.my.cnf .git-credentials .dockercfg .docker/config.json .vault-token .boto .s3cfg /home/a/.aws/credentials
config/credentials.yml google-credentials.json client_secret_123.json project-firebase-adminsdk-x1.json
service-account-prod.json secrets.toml secrets.yml secret secrets.h api_keys.txt tokens.json infra/prod.tfvars
terraform.tfstate terraform.tfstate.backup .terraformrc credentials.tfrc.json .kube/config kubeconfig prod.kubeconfig
/home/a/.config/gh/hosts.yml /home/a/.config/gcloud/legacy /home/a/.cargo/credentials.toml .cargo/credentials
/home/a/.gem/credentials /home/a/.m2/settings.xml /home/a/.azure/accessTokens.json wallet.dat .bash_history .zsh_history
.psql_history .python_history .mysql_history fish_history server.rdp appsettings.Secrets.json local.settings.json
wp-config.php passwords.txt logins.json key4.db rootkey.csv accessKeys.csv config/master.key .streamlit/secrets.toml
C:\\Users\\a\\AppData\\Roaming\\Microsoft\\UserSecrets\\1\\secrets.json /run/secrets/db /etc/shadow rclone.conf
.vault_pass sftp-config.json k8s/db-secrets.yaml keys.secret .sentryclirc .huggingface/token
""".split()  # noqa: SIM905

INNOCENT = """
main.py environment.py env.py env.d.ts src/key.py keys.go monkey secretary.py credentials_test.go credentials/main.rs
aws/client.py id_rsa_parser.c package.json secrets.py secrets/manager.py src/secret.rs token.py tokens.py tokenizer.rs
token.go credentials.py Credentials.java apikey.ts access_token.rb private_key.cpp password.py PasswordField.tsx
passwords.py history.py bash_history_parser.py wallet.py wallet.sol keystore.go keychain.swift certificate.py pem.go
docker/config.py kube/config.go config/gh/hosts.py gradle.properties build.gradle terraform.py main.tf variables.tf
settings.py settings.json appsettings.json application.yml database.yml docker-compose.yml Dockerfile Makefile README.md
.gitignore .editorconfig .vscode/settings.json .github/workflows/ci.yml pyproject.toml Cargo.toml go.mod tsconfig.json
shadow.py shadow.css shell.rs env/config.ts src/.environment.md keyboard.c key.h hosts.yml
""".split()  # noqa: SIM905


@pytest.mark.parametrize("path", PRIVATE)
def test_private_names(path: str) -> None:
    assert is_private(path)
    assert is_private(f"/home/b/project/{path.lstrip('/')}") and is_private(path.upper())


@pytest.mark.parametrize("path", ["", *INNOCENT])
def test_names_that_are_not_private(path: str) -> None:
    assert not is_private(path) and not is_private(f"/home/b/project/{path}")


def test_both_lists_are_long_enough() -> None:
    assert len(set(PRIVATE)) >= 60 and len(set(INNOCENT)) >= 40
