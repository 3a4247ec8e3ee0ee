"""Checks a hosted model for `doctor`: where text would be sent, whether there is a key, and whether the model answers.

The checks send one short request for each use, without any text of the user, and only if the settings ask for a hosted
model. They never show the key.
"""

from __future__ import annotations

import time
from typing import Any

from mercury_lsp.cli.doctor.report import Report
from mercury_lsp.config import Config
from mercury_lsp.edits.formats import MERCURY
from mercury_lsp.edits.region import Change, region_around
from mercury_lsp.engine.api import Sampling, never_cancelled
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.lsp.status import describe_edits_sent, describe_sent
from mercury_lsp.remote.address import Address, RemoteError
from mercury_lsp.remote.key import Key
from mercury_lsp.syntax.document import Document

_FIX_EDITS = "fix the options that begin with remote_, or set next_edit to local"
_FIX = "fix the options that begin with remote_, or set remote to off"


def check_hosted_model(report: Report) -> dict[str, Any]:
    """Return what the settings send to a hosted model, and whether that model answers."""
    config = report.config
    if config.next_edit == "hosted":
        edits = _check_next_edit(report)
        return (_check_completion(report) if config.remote != "off" else {"remote": "off"}) | {
            "next_edit": edits
        }
    if config.remote == "off":
        return {"remote": "off", "sent": "nothing, according to the checked settings"}
    return _check_completion(report)


def _check_completion(report: Report) -> dict[str, Any]:
    """Check that the hosted model answers a completion request with text."""
    config = report.config
    from mercury_lsp.remote.engine import RemoteEngine  # imports an HTTP client

    fatal = config.remote == "always"
    facts: dict[str, Any] = {"remote": config.remote, "sent": None, "key": None, "answers": None}
    try:
        address = Address.of(config.remote_url)
        engine = RemoteEngine.of(config)
    except RemoteError as error:
        report.add_problem(str(error).rstrip("."), _FIX, fatal)
        return facts
    facts["sent"] = describe_sent(config.remote, engine.remote_status)
    facts["key"] = _check_key(report, config)
    if not address.keeps_secrets:
        report.add_problem(f"text goes to {address.host} unencrypted", "use https")
    began = time.perf_counter()
    try:
        prompt = Prompt("", "def add(a, b):\n    return ", "", "\n")
        infill = engine.infill(prompt, Sampling(single_line=True, max_tokens=8))
        facts["answers"] = {"model": engine.name, "ms": round((time.perf_counter() - began) * 1e3)}
        if not infill.text.strip():
            report.add_problem(f"{address.host} answers with an empty text", "check the option remote_model")
    except NoResult as error:
        report.add_problem(str(error), _FIX, fatal)
    finally:
        engine.close()
    return facts


def _check_next_edit(report: Report) -> dict[str, Any]:
    """Check that the hosted model answers a next-edit request with an edit."""
    from mercury_lsp.remote.edits import HostedEdits  # imports an HTTP client

    document = Document("", "a.py", "python", 1, "def add(a, c):\n    return a + b\n")
    region = region_around(document, document.text.index("c") + 1, 1_000)
    assert region is not None
    prompt = MERCURY.prompt("file.py", region, [Change(0, ("def add(a, b):",), ("def add(a, c):",))])
    assert prompt is not None
    facts: dict[str, Any] = {"sent": None, "key": None, "answers": None}
    try:
        model = HostedEdits.of(report.config)
    except RemoteError as error:
        report.add_problem(str(error).rstrip("."), _FIX_EDITS)
        return facts
    facts["sent"], facts["key"] = describe_edits_sent(model.remote_status), _check_key(report, report.config)
    began = time.perf_counter()
    try:
        answer = model.ask(prompt, 128, never_cancelled)
        facts["answers"] = {"ms": round((time.perf_counter() - began) * 1e3)}
        if answer is None or MERCURY.answer(answer) is None:
            report.add_problem(f"{model.remote_status.host} answers without an edit", _FIX_EDITS)
    except NoResult as error:
        report.add_problem(str(error), _FIX_EDITS)
    finally:
        model.close()
    return facts


def _check_key(report: Report, config: Config) -> str:
    """Return whether there is a key, and its source, but never the key itself."""
    key = Key(config.remote_key_env, config.remote_key_command)
    try:
        return f"found in {key.source}" if key.read() else f"none in {key.source}"
    except RemoteError as error:
        report.add_problem(str(error).rstrip("."), "fix remote_key_command or remote_key_env")
        return f"none in {key.source}"
