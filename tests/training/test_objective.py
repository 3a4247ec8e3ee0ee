"""The layout of training contexts and their loss; a tiny network that is trained with them learns to infill."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import tokenizers
import torch
from support.models.tiny_models import TINY, tiny_network
from torch import Tensor

from mercury_lsp.context import prompt
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.attention import attention_mask
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, Snippet, Specials, Tokenizer, encode_prompt
from model.data.groups import Group, encode_group
from model.data.spans import Budget, Hole, cut, node_finder
from model.training.attention import attention
from model.training.batch import Batch, collate, pack_contexts
from model.training.layout import CAUSAL, NO_TARGET, NO_TWIN, Context, Weights, lay_out
from model.training.objective import Objective, loss_of
from model.training.recipe import KINDS

FILE = '''import os


def area(width, height):
    """Area of a rectangle."""
    return width * height


def names(folder):
    found = []
    for entry in os.scandir(folder):
        if entry.is_file():
            found.append(entry.name)
    return sorted(found)
'''
BUDGET = Budget(prefix=200, following=100)


def group(tokenizer: Tokenizer, seed: int) -> list[Hole]:
    nodes, start = node_finder("area.py", FILE), tokenizer.stem_start
    return cut("area.py", FILE, tokenizer.count, BUDGET, 6, Random(seed), nodes, stem_start=start)


def assemble(
    holes: list[Hole], tokenizer: Tokenizer, rows: int, generator: torch.Generator
) -> Context | None:
    made = encode_group(holes, tokenizer)
    return lay_out(made, tokenizer, rows, Weights(trunk_share=1.0), generator) if made is not None else None


def batch(tokenizer: Tokenizer, seed: int, rows: int = 512) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    made = assemble(group(tokenizer, seed), tokenizer, rows, generator)
    assert made is not None
    return collate([made], rows, tokenizer.specials.eot)


def test_filled_holes_give_the_file(tokenizer: Tokenizer) -> None:
    kinds = set()
    for seed in range(60):
        for hole in group(tokenizer, seed):
            kinds.add(hole.kind)
            at = hole.prompt
            assert at.prefix + hole.middle + at.rest + at.following == FILE
    assert kinds == set(KINDS)


def test_a_prompt_ends_before_a_pre_token_and_its_middle_begins_with_the_stem(
    tokenizer: Tokenizer,
) -> None:
    stems = set()
    for seed in range(60):
        for hole in group(tokenizer, seed):
            assert hole.middle.startswith(hole.prompt.stem)
            stems.add(hole.prompt.stem)
            whole = tokenizer.encode(hole.prompt.prefix + hole.middle)
            halves = [*tokenizer.encode(hole.prompt.prefix), *tokenizer.encode(hole.middle)]
            # The pre-tokenizer splits a run of blanks before a word; the halves differ only there.
            assert halves == whole or hole.prompt.prefix.endswith((" ", "\n"))
    assert len(stems) > 20


def test_the_holes_of_a_group_are_distinct(tokenizer: Tokenizer) -> None:
    healed = "value = area(width, height)\n"
    groups = 0
    for seed in range(40):
        holes = cut(
            "a.py",
            healed,
            tokenizer.count,
            BUDGET,
            12,
            Random(seed),
            node_finder("a.py", healed),
            stem_start=tokenizer.stem_start,
        )
        read = [(hole.prompt.prefix, hole.prompt.rest, hole.middle) for hole in holes]
        assert len(set(read)) == len(read)
        groups += len(read) > 3
    assert groups > 20


def test_each_branch_has_its_own_fim_middle_token(tokenizer: Tokenizer) -> None:
    prompt = Prompt("a.py", "total = ", "", "\n")
    holes = [Hole("rest", prompt, "1"), Hole("span", prompt, "1 + 2")]
    made = encode_group(holes, tokenizer)
    assert made is not None
    assert [branch.tail[-1] for branch in made.branches] == [tokenizer.specials.fim_middle] * 2


def test_no_canvas_extends_over_the_cursor(tokenizer: Tokenizer) -> None:
    prefix = "def area(width, height):\n    return "
    holes = [Hole("rest", Prompt("", prefix, "", rest), "width") for rest in (") * 2 + a", ") * 2 + b")]
    made = encode_group(holes, tokenizer)
    assert made is not None and tokenizer.specials.fim_rest in made.trunk
    asked: list[int] = []
    for seed in range(20):
        context = lay_out(made, tokenizer, 400, Weights(), torch.Generator().manual_seed(seed))
        assert context is not None
        asked += context.target[(context.canvas > 0) & (context.target != NO_TARGET)].tolist()
    assert len(asked) > 100
    assert not (set(tokenizer.forbidden) - {tokenizer.specials.eot}) & set(asked)


def test_a_context_has_the_tokens_that_serving_would_encode(tokenizer: Tokenizer) -> None:
    for seed in range(20):
        holes = group(tokenizer, seed)
        made = batch(tokenizer, seed)
        clean, branch = made.rows.canvas[0] == 0, made.rows.branch[0]
        expected = [
            [*encode_prompt(hole.prompt, tokenizer), *tokenizer.encode(hole.middle)] for hole in holes
        ]
        trunk = made.ids[0][clean & (branch == 0)].tolist()
        for number in range(1, int(branch.max()) + 1):
            tail = made.ids[0][clean & (branch == number)].tolist()
            assert tail[-1] == tokenizer.specials.eot
            assert [*trunk, *tail[:-1]] in expected


def contexts(tokenizer: Tokenizer, weights: Weights, count: int = 3) -> list[Context]:
    """Return contexts of different lengths, all with the same weights."""
    made = []
    for seed in range(count):
        found = encode_group(group(tokenizer, seed), tokenizer)
        assert found is not None
        one = lay_out(found, tokenizer, 320 + 32 * seed, weights, torch.Generator().manual_seed(seed))
        assert one is not None
        made.append(one)
    return made


def test_every_row_of_a_causal_context_except_its_path_and_the_last_has_a_target(
    tokenizer: Tokenizer,
) -> None:
    for seed in range(20):
        found = encode_group(group(tokenizer, seed), tokenizer)
        assert found is not None
        made = lay_out(found, tokenizer, 2000, CAUSAL, torch.Generator())
        assert made is not None
        sequences = [found.trunk, *(ids for b in found.branches for ids in (b.tail, b.middle))]
        assert len(made.ids) == sum(map(len, sequences))
        assert not made.canvas.any()
        following, own = np.roll(made.ids, -1), np.roll(made.branch, -1) == made.branch
        own[-1] = False
        path = int(np.flatnonzero(made.ids == tokenizer.specials.fim_prefix)[0])
        own[path : path + tokenizer.count("area.py\n")] = False
        expected = np.where(own & ~np.isin(following, tokenizer.forbidden), following, NO_TARGET)
        # <eot> may be predicted, and occurs only after a middle.
        assert made.target.tolist() == expected.tolist()
        assert (made.target == tokenizer.specials.eot).sum() == len(found.branches)
        assert set(made.weight[made.target != NO_TARGET]) == {1.0}


@pytest.mark.parametrize("weights", [CAUSAL, Weights(tail=0.3)])
def test_no_path_is_a_target(tokenizer: Tokenizer, weights: Weights) -> None:
    square = Snippet("shapes/square.py", "def square(side):\n    return side * side\n")
    cube = Snippet("solids/cube.py", "def cube(edge):\n    return edge ** 3\n")
    prefix = "def area(width, height):\n    return "
    holes = [
        Hole(
            "rest", Prompt("src/area.py", prefix, rest, "\n\n\ntotal = area(2, 3)\n", (square, cube)), middle
        )
        for rest, middle in (("", "width * height"), (" * height", "width"))
    ]
    made = encode_group(holes, tokenizer)
    assert made is not None
    asked = ""
    for seed in range(20):
        context = lay_out(made, tokenizer, 400, weights, torch.Generator().manual_seed(seed))
        assert context is not None
        asked += tokenizer.decode(context.target[context.target != NO_TARGET].tolist())
    for path in ("src", "area.py", "shapes", "square.py", "solids", "cube.py"):
        assert path not in asked
    for text in ("def square(side):\n", "def cube(edge):\n", "def area(width, height):\n", "width * height"):
        assert asked.count(text) >= 20


def test_canvases_take_no_more_rows_than_they_may_and_begin_with_the_middles(tokenizer: Tokenizer) -> None:
    filled = 0
    for seed in range(20):
        found = encode_group(group(tokenizer, seed), tokenizer)
        assert found is not None

        def rows(canvas_rows: int, found: Group = found, seed: int = seed) -> Context:
            generator = torch.Generator().manual_seed(seed)
            made = lay_out(found, tokenizer, 700, Weights(), generator, canvas_rows=canvas_rows)
            assert made is not None
            return made

        bounded, whole = rows(60), rows(0)
        assert 0 < (bounded.canvas > 0).sum() <= 60
        assert len(whole.ids) <= 700
        # A cursor on the first lines leaves no room for plain blocks.
        filled += len(whole.ids) > 700 - 14 and (bounded.canvas > 0).sum() > 60 - 14
        clean = whole.canvas == 0
        assert bounded.ids[bounded.canvas == 0].tolist() == whole.ids[clean].tolist()
        firsts = [
            int(bounded.branch[bounded.canvas == number][0]) for number in range(1, bounded.canvas.max())
        ]
        assert firsts[0] == 1
        assert firsts == sorted(firsts, key=lambda branch: branch or len(found.branches) + 1)
    assert filled > 10


@pytest.mark.parametrize("weights", [CAUSAL, Weights()])
@pytest.mark.parametrize("taught", [0.0, 0.5])
def test_packed_contexts_have_the_loss_and_gradient_of_padded_ones(
    tokenizer: Tokenizer, weights: Weights, taught: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training.fused_loss.CHUNK", 64)
    made = contexts(tokenizer, weights)
    losses, gradients = [], []
    for form in (pack_contexts(made, 100), collate(made, 400, tokenizer.specials.eot)):
        network = tiny_network(1).requires_grad_(True)
        loss = Objective(network, torch.float32, teacher_share=taught, packed=bool(form.lengths))(form)
        loss.total.backward()
        losses.append((loss.total.detach(), loss.sums))
        gradients.append([weight.grad for weight in network.parameters()])
        assert form.pairs == pack_contexts(made).pairs
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_packed_contexts_do_not_attend_to_each_other(tokenizer: Tokenizer) -> None:
    made = contexts(tokenizer, Weights())
    whole = pack_contexts(made)
    network = tiny_network(1)
    attend, mask = attention(whole.rows, whole.lengths, TINY.group)
    with torch.no_grad():
        hidden = network(whole.ids, whole.rows.position, mask, attend=attend)[0]
        changed = whole.ids.clone()
        changed[0, : whole.lengths[0]] = 7
        others = network(changed, whole.rows.position, mask, attend=attend)[0]
    first = whole.lengths[0]
    assert not hidden[:first].equal(others[:first])
    assert hidden[first:].equal(others[first:])


def test_masked_tokens_of_canvases_are_their_targets(tokenizer: Tokenizer) -> None:
    made = batch(tokenizer, 3)
    canvas, target = made.rows.canvas[0], made.target[0]
    for number in range(1, int(canvas[canvas < 1 << 20].max()) + 1):
        ids, targets = made.ids[0][canvas == number], target[canvas == number]
        hidden = ids[1:] == tokenizer.specials.mask
        assert hidden.equal(targets[:-1] != NO_TARGET)
        assert targets[-1] == NO_TARGET


def test_no_row_attends_to_its_own_target(tokenizer: Tokenizer) -> None:
    """Rows of a canvas attend neither to the clean copy of its text nor to other canvases."""
    made = batch(tokenizer, 5)
    seen = attention_mask(made.rows, made.rows)[0]
    rows = made.rows
    for row in torch.nonzero(rows.canvas[0]).flatten().tolist():
        if rows.canvas[0, row] >= 1 << 20:
            continue
        keys = torch.nonzero(seen[row]).flatten()
        clean = keys[rows.canvas[0, keys] == 0]
        others = keys[rows.canvas[0, keys] > 0]
        assert bool((rows.position[0, clean] < rows.start[0, row]).all())
        assert bool((rows.canvas[0, others] == rows.canvas[0, row]).all())
        own = rows.branch[0, clean]
        assert bool(((own == 0) | (own == rows.branch[0, row])).all())


def test_a_branch_has_the_hidden_rows_of_a_causal_run(tokenizer: Tokenizer) -> None:
    """The packed rows of a branch equal a plain causal run over its own tokens."""
    torch.manual_seed(0)
    network = Network(TINY).eval()
    made = batch(tokenizer, 7)
    rows = made.rows
    with torch.no_grad():
        packed = network(made.ids, rows.position, attention_mask(rows, rows))[0]
        chosen = (rows.canvas[0] == 0) & ((rows.branch[0] == 0) | (rows.branch[0] == 1))
        ids = made.ids[:, chosen]
        n = ids.shape[1]
        plain = network(ids, torch.arange(n)[None], torch.ones(1, n, n).tril().bool())[0]
    torch.testing.assert_close(packed[chosen], plain, atol=1e-5, rtol=1e-4)


def test_a_twin_is_the_clean_row_that_predicts_the_same_token(tokenizer: Tokenizer) -> None:
    for seed in range(10):
        made = batch(tokenizer, seed)
        rows, twin, target = made.rows.map(lambda row: row[0]), made.twin[0], made.target[0]
        asked = torch.nonzero(target != NO_TARGET).flatten()
        fillers = 0
        for row in asked.tolist():
            other = int(twin[row])
            if other == NO_TWIN:
                assert target[row] == tokenizer.specials.eot
                fillers += 1
                continue
            assert 0 <= other < made.clean
            assert rows.canvas[other] == 0
            assert rows.position[other] == rows.position[row]
            if rows.branch[other] == rows.branch[other + 1]:
                assert made.ids[0, other + 1] == target[row]
            if rows.canvas[row] == 0:
                assert other == row
        assert fillers < len(asked) / 2
        assert bool((rows.canvas[made.clean :] > 0).all()) and made.clean < len(rows.canvas)


def expected(network: Network, teacher: Network, made: Batch, rows: Tensor, taught: float) -> Tensor:
    """Return the loss at some rows in nats, computed row by row."""
    mask = attention_mask(made.rows, made.rows)
    clean = made.rows.map(lambda row: row[:, : made.clean])
    with torch.no_grad():
        logits = network.logits(network(made.ids, made.rows.position, mask))[0]
        seen = teacher(made.ids[:, : made.clean], clean.position, attention_mask(clean, clean))
        told = teacher.logits(seen)[0]
    nats = []
    for row in rows.tolist():
        logp, twin = logits[row].log_softmax(-1), int(made.twin[0, row])
        hard = -logp[made.target[0, row]]
        soft = hard if twin == NO_TWIN else -(told[twin].softmax(-1) * logp).sum()
        nats.append((1 - taught) * hard + taught * soft)
    return torch.stack(nats)


@pytest.mark.parametrize("chunk", [0, 50])
def test_a_teacher_contributes_to_every_target_that_has_a_twin(tokenizer: Tokenizer, chunk: int) -> None:
    network, teacher = tiny_network(1), tiny_network(2)
    made = batch(tokenizer, 3, rows=320)
    asked = torch.nonzero(made.target[0] != NO_TARGET).flatten()
    nats = expected(network, teacher, made, asked, 0.7)
    whole = (nats * made.weight[0, asked]).sum() / made.worth
    objective = Objective(
        network.requires_grad_(True), torch.float32, chunk, teacher_share=0.7, teacher=teacher
    )
    loss = objective(made)
    torch.testing.assert_close(loss.total, whole, rtol=1e-4, atol=1e-5)
    loss.total.backward()
    assert network.layers[0].down.weight.grad is not None  # type: ignore[union-attr]
    assert all(weight.grad is None for weight in teacher.parameters())
    plain = loss_of(network, made, torch.float32)
    # The metrics stay those of the author's tokens.
    torch.testing.assert_close(loss.sums, plain.sums)


def test_without_a_teacher_causal_rows_teach_only_canvases(tokenizer: Tokenizer) -> None:
    network = tiny_network(1)
    made = batch(tokenizer, 3, rows=320)
    asked = torch.nonzero(made.target[0] != NO_TARGET).flatten()
    canvas = made.rows.canvas[0, asked] > 0
    nats = torch.where(
        canvas, expected(network, network, made, asked, 0.7), expected(network, network, made, asked, 0.0)
    )
    whole = (nats * made.weight[0, asked]).sum() / made.worth
    torch.testing.assert_close(
        Objective(network, torch.float32, teacher_share=0.7)(made).total, whole, rtol=1e-4, atol=1e-5
    )


LESSONS = {
    "area.py": "def area(width, height):\n    return width * height\n",
    "names.py": "def names(folder):\n    for entry in folder:\n        yield entry.name\n",
    "max.js": "function max(a, b) {\n  return a > b ? a : b;\n}\n",
}
QUESTIONS = (
    ("area.py", "width * height"),
    ("area.py", "    return width * height"),
    ("names.py", "entry.name"),
    ("names.py", "folder:\n        yield entry.name"),
    ("max.js", "a > b ? a : b;"),
)


# The steps of one rise and fall of the learning rate.
CYCLE = 400


def byte_tokenizer(folder: Path) -> Tokenizer:
    """Make a tokenizer of single bytes, with which two layers learn in seconds to continue at any character."""
    vocabulary = tokenizers.Tokenizer(tokenizers.models.BPE())
    vocabulary.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=0,
        special_tokens=[f"<{name}>" for name in Specials.__dataclass_fields__],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    vocabulary.train_from_iterator(LESSONS.values(), trainer)
    vocabulary.save(str(folder / Tokenizer.FILE))
    return Tokenizer.load(folder)


def batch_of_lessons(tokenizer: Tokenizer, step: int, rows: int = 448) -> Batch:
    random, generator = Random(step), torch.Generator().manual_seed(step)
    contexts = []
    for path, text in LESSONS.items():
        holes = cut(path, text, tokenizer.count, BUDGET, 3, random, node_finder(path, text))
        made = assemble(holes, tokenizer, rows, generator)
        contexts += [made] if made is not None else []
    return collate(contexts, rows, tokenizer.specials.eot)


def count_right(learner: Checkpoint, network: Network, mode: str) -> tuple[int, int, int]:
    """Return how many questions are answered exactly, and the passes and tokens used."""
    # A new engine, because the cache of an old one does not expect changed weights.
    engine = LocalEngine(learner, TorchExecutor(network, learner.tokenizer.forbidden, "cpu"))
    good = passes = tokens = 0
    for path, middle in QUESTIONS:
        before, after = LESSONS[path].split(middle)
        asked = prompt.build(path, before, after, engine.count, BUDGET.prefix, BUDGET.following)
        got = engine.infill(asked, Sampling(mode=mode))
        good += (got.text, got.finished) == (middle, True)
        passes, tokens = passes + got.forward_passes, tokens + got.tokens
    return good, passes, tokens


def test_two_layers_learn_to_infill_their_files_exactly(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(tmp_path)
    torch.manual_seed(0)
    network = Network(
        Shape(vocabulary=tokenizer.size, width=160, layers=2, heads=5, kv_heads=5, head_width=32, hidden=320)
    )
    for weight in network.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.05)
    learner = Checkpoint("learner", tmp_path, network.shape, tokenizer, "", {})
    assert count_right(learner, network, "diffusion")[0] == 0
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.95))
    # Usually the first cycle is enough.
    for step in range(3 * CYCLE):
        if step % CYCLE == 0:
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=CYCLE, pct_start=0.1)
        loss = loss_of(network, batch_of_lessons(tokenizer, step), torch.float32)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        modes = ("diffusion", "autoregressive")
        if step % 50 == 49 and all(
            count_right(learner, network, mode)[0] == len(QUESTIONS) for mode in modes
        ):
            break
    good, passes, tokens = count_right(learner, network, "diffusion")
    assert good == len(QUESTIONS)
    assert count_right(learner, network, "autoregressive")[0] == len(QUESTIONS)
    assert passes < tokens / 2
