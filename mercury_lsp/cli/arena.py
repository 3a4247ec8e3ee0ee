"""Compares models or modes blindly on the user's own edits: `mercury-lsp arena`.

The idea is that of Copilot Arena (Chi et al., 2025), which shows a user two completions at a time and rates models by
the accepted ones. Here nothing leaves the machine except the requests to a hosted model, if the user names one, and the
places come from commits, not from an editor.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import track

from mercury_lsp.arena import ballots, commits, contestants, edits, matches, standings
from mercury_lsp.arena.ballots import JUDGES, Ballot
from mercury_lsp.arena.contestants import ContestantAnswer, NoAnswer, Player
from mercury_lsp.arena.edits import Edit
from mercury_lsp.cli import arena_screen
from mercury_lsp.cli.arena_screen import END_OF_INPUT, open_keyboard
from mercury_lsp.cli.loading import read_settings
from mercury_lsp.context.private_files import is_private
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.errors import BadUsage, Failure

RECORD = "record"
PLACES = 100
# The command fails after as many places in a row at which a hosted model gives no answer.
MAX_UNANSWERED_PLACES = 5


def run(arguments: Namespace) -> int:
    """Compare contestants, or report, record or delete; return the exit status."""
    if arguments.clear:
        count = ballots.delete_ballots()
        print(json.dumps({"deleted": count}) if arguments.json else f"Deleted {count} choices.")
    elif arguments.report:
        _print(_report(arguments.seed), arguments.json)
    elif arguments.names[:1] == [RECORD]:
        _record(arguments)
    else:
        _print(_compare(arguments), arguments.json)
    return 0


def _compare(arguments: Namespace) -> dict[str, Any]:
    specs, folder = _split_names(arguments.names)
    if len(specs) < 2:
        raise BadUsage("Name at least two contestants, such as small and mini; see mercury-lsp arena --help.")
    if model := os.environ.get("MERCURY_MODEL"):
        raise BadUsage(
            f"The variable MERCURY_MODEL would make {model} the model of all contestants; unset it."
        )
    terminal = sys.stdin.isatty() and (sys.stderr if arguments.json else sys.stdout).isatty()
    judge = arguments.judge or ("user" if terminal else "truth")
    if judge not in JUDGES:
        raise BadUsage(f"The judge must be one of {', '.join(JUDGES)}, not {judge!r}.")
    if judge == "user" and not terminal:
        raise BadUsage("--judge user needs a terminal; without a terminal, use --judge truth.")
    selected = contestants.parse_contestants(specs, read_settings(arguments.settings))
    earlier_ballots = ballots.read_ballots()[0] if judge == "user" else []
    places, left_out = _load_places(arguments, folder, len({ballot.place for ballot in earlier_ballots}))
    for contestant in selected:
        if contestant.remote:
            where = contestant.config.remote_url
            print(f"Sending the text around each place to {where}, for {contestant.name}.", file=sys.stderr)
    players: list[Player] = []
    for contestant in selected:
        with Console(stderr=True).status(f"Loading {contestant.name} ..."):
            players.append(contestants.load_player(contestant))
    runner = _MatchRunner(players, arguments.seed, arguments.limit or len(places))
    if judge == "user":
        runner.run_by_user(places, earlier_ballots, Console(stderr=arguments.json, highlight=False))
    else:
        runner.run_by_truth(places)
    return {
        "judge": judge,
        "seed": arguments.seed,
        "margin": matches.TIE_SHARE if judge == "truth" else None,
        **standings.compute_standings(
            earlier_ballots + runner.ballots, [player.id for player in players], arguments.seed
        ),
        "left_out": left_out,
        "unanswered": runner.unanswered,
    }


def _report(seed: int) -> dict[str, Any]:
    earlier_ballots, damaged = ballots.read_ballots()
    if not earlier_ballots:
        raise Failure(
            "There are no choices yet. Run mercury-lsp arena small mini in a terminal to make some."
        )
    figures = standings.compute_standings(earlier_ballots, standings.contestant_ids(earlier_ballots), seed)
    return {"judge": "user", "seed": seed, **figures, "damaged_records": damaged}


def _record(arguments: Namespace) -> None:
    if len(arguments.names) > 2 or arguments.edits or arguments.out is None:
        raise BadUsage("Use mercury-lsp arena record [FOLDER] --out FILE to record edits.")
    folder = Path(arguments.names[1] if len(arguments.names) == 2 else ".")
    places, left_out = _load_places(arguments, folder, 0)
    try:
        # The file holds the user's code, so no other user may read it.
        with open(arguments.out, "x", encoding="utf-8", opener=ballots.open_private) as file:
            file.writelines(f"{edit.to_json()}\n" for edit in places)
    except OSError as error:
        raise Failure(f"Cannot write the edits to {arguments.out}: {error.strerror}.") from error
    if arguments.json:
        print(json.dumps({"edits": len(places), "left_out": left_out}))
    else:
        print(f"Wrote {len(places)} edits to {arguments.out}.{_describe_left_out(left_out)}")


class _MatchRunner:
    """Matches between players.

    `ballots`: the new ballots. `unanswered`: the number of places at which a hosted model gave no answer.
    """

    def __init__(self, players: Sequence[Player], seed: int, limit: int) -> None:
        self._players, self._seed, self._limit = players, seed, limit
        self.ballots: list[Ballot] = []
        self.unanswered = self._unanswered_in_a_row = 0

    def run_by_truth(self, places: Sequence[Edit]) -> None:
        """Judge every pair of players at every place by the author's text."""
        console = Console(stderr=True)
        for edit in track(
            places, "comparing", console=console, transient=True, disable=not console.is_terminal
        ):
            try:
                self.ballots += matches.judge_by_truth(self._players, edit, self._seed)
                self._unanswered_in_a_row = 0
            except NoAnswer as error:
                self._on_no_answer(error)

    def run_by_user(
        self, places: Sequence[Edit], earlier_ballots: Sequence[Ballot], console: Console
    ) -> None:
        """Let the user judge one pair at each place, up to the limit or until `q`; record each choice at once."""
        spinner = console.status("Both are writing ...")
        place_numbers = count(1)

        def ask_user(edit: Edit, one: ContestantAnswer, two: ContestantAnswer) -> str | None:
            spinner.stop()
            console.clear()
            console.print(arena_screen.render_place(edit, one, two, next(place_numbers)))
            while (pressed := read_key()) not in arena_screen.KEYS:
                if pressed == END_OF_INPUT:
                    return None
            spinner.start()
            return arena_screen.KEYS[pressed]

        compared = matches.compared_places(self._players, earlier_ballots)
        with open_keyboard() as read_key, spinner:
            for ballot in matches.judge_by_user(
                self._players, places, compared, self._seed, ask_user, self._on_no_answer
            ):
                ballots.append_ballot(ballot)
                self.ballots.append(ballot)
                self._unanswered_in_a_row = 0
                if len(self.ballots) == self._limit:
                    break

    def _on_no_answer(self, error: NoAnswer) -> None:
        self.unanswered += 1
        self._unanswered_in_a_row += 1
        if self._unanswered_in_a_row == MAX_UNANSWERED_PLACES:
            raise Failure(f"At {MAX_UNANSWERED_PLACES} places in a row, {error}.") from error


def _split_names(names: Sequence[str]) -> tuple[list[str], Path]:
    """Split the arguments into contestants and the folder of the repository.

    The last name is the folder if it is a directory that holds no model; otherwise the folder is the current one.
    """
    from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError, find_model  # imports numpy

    if names and Path(names[-1]).is_dir():
        try:
            find_model(names[-1])
        except CheckpointError:
            return [*names[:-1]], Path(names[-1])
    return [*names], Path()


def _load_places(arguments: Namespace, folder: Path, n_judged: int) -> tuple[list[Edit], dict[str, int]]:
    """Return the edits to compare at, and the number of left-out edits by reason.

    n_judged: the number of places that were judged before; as many more edits are read.
    """
    if arguments.edits is not None:
        places, left_out = _read_recorded(arguments.edits)
        if arguments.limit is not None and arguments.limit + n_judged < len(places):
            places = Random(arguments.seed).sample(places, arguments.limit + n_judged)
        if not places:
            raise Failure(f"The file has no usable edits.{_describe_left_out(left_out)}")
        return places, left_out
    repository = commits.Repository(folder)
    author = arguments.author or repository.user_email
    if not author:
        raise BadUsage(
            "Git has no email address of yours: name the author of the commits with --author EMAIL."
        )
    limit, reasons = (arguments.limit or PLACES) + n_judged, Counter[str]()
    with Console(stderr=True).status("Reading commits ...") as status:

        def on_progress(n_read: int) -> None:
            status.update(f"Reading commits: {n_read} of {limit} edits ...")

        places = commits.read_edits_by_author(repository, author, limit, arguments.seed, reasons, on_progress)
    if not places:
        raise Failure(f"{folder} has no usable edits of {author}.{_describe_left_out(reasons)}")
    return places, dict(reasons)


def _read_recorded(file: Path) -> tuple[list[Edit], dict[str, int]]:
    try:
        with open(file, encoding="utf-8") as lines:
            recorded = list(edits.read_edits(lines))
    except OSError as error:
        raise BadUsage(f"Cannot read {file}: {error.strerror}.") from error
    except edits.InvalidEdit as error:
        raise BadUsage(f"{file} is not a record of edits: {error}.") from error
    except ValueError as error:
        raise BadUsage(f"{file} is not UTF-8 text.") from error
    usable = [edit for edit in recorded if not is_private(edit.path) and not is_secret(edit.full_text)]
    n_unusable = len(recorded) - len(usable)
    return usable, {"private, or with secrets": n_unusable} if n_unusable else {}


def _print(figures: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
    else:
        console = Console(highlight=False)
        console.print(arena_screen.render_figures(figures), no_wrap=False)
        if reasons := _describe_left_out(figures.get("left_out", {})):
            console.print(reasons.strip(), markup=False)


def _describe_left_out(left_out: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{reason} ({count})" for reason, count in left_out.items())
    return f" Skipped: {reasons}." if reasons else ""
