"""What somebody sees who evaluates what cannot be evaluated: one line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.data.example_cache import ExampleCache
from pony_jax.data.pipeline import Split
from pony_jax.model import NO_CAPACITIES, build_model
from pony_jax.training.checkpoints import Checkpoints, Progress, open_workdir
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.restored import restore_run
from pony_jax.training.step import init_state
from tests.training.command_flags import command_module, forget_values, refusal


@pytest.fixture(scope="module")
def evaluate_module() -> Iterator[ModuleType]:
    with command_module("pony_jax.evaluate") as module:
        yield module


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the test variant that has learned nothing."""
    path = tmp_path_factory.mktemp("run")
    config = horse.get_config("test")
    model = build_model(config, (8, 8))
    groups = parameter_groups(**config.optimizer, num_steps=config.num_steps)
    like = jax.eval_shape(lambda: init_state(model, groups, jax.random.key(0)))
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    Checkpoints(open_workdir(path, config), keep=2).save(
        state._replace(step=jnp.int32(8)), Progress((8, 8), NO_CAPACITIES, 1.0)
    )
    return path


@pytest.fixture
def evaluate(
    evaluate_module: ModuleType, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    monkeypatch.setattr(evaluate_module, "prepare_process", lambda folder: None)

    def run(*arguments: str) -> str:
        return refusal(evaluate_module, monkeypatch, "evaluate", f"--workdir={workdir}", *arguments)

    forget_values()
    yield run
    forget_values()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--workdir=/nowhere", "expected a run's config.json in /nowhere, found none; pass the"),
        ("--refine_steps=-1", "--refine_steps"),
        ("--refine_steps=x", "--refine_steps"),
        ("--json=/nowhere/scores.json", "expected a folder to write /nowhere/scores.json into"),
        ("--html=/nowhere/page.html", "expected a folder to write /nowhere/page.html into, found"),
        ("--data_dir=/nowhere --split=test", "in /nowhere/synthetic_quadruped/horse_tiny"),
    ],
)
def test_mistakes_are_one_line(evaluate: Callable, arguments: str, expected: str) -> None:
    line = evaluate(*arguments.split())
    assert line.startswith("error: ") and expected in line, line


def _split(token_side: int, token_dim: int) -> Split:
    s = 32
    tokens = np.zeros((2, token_side, token_side, token_dim), np.float16)
    example = {
        "image": np.zeros((s, s, 3), np.uint8),
        "feature": np.zeros((2, s, s, 16), np.uint8),
        "patch_key": tokens,
        "patch_out": tokens,
    }
    return Split(ExampleCache(lambda _: example, 0), np.arange(2), ids=("a", "b"), skipped=0)


@pytest.mark.parametrize(
    ("side", "dim", "expected"),
    [
        (8, 16, "expected tokens of side and channels (8, 8), as the run was trained with, found"),
        (16, 8, "found (16, 8) in synthetic_quadruped/horse_tiny; extract its features as those"),
        (12, 8, "expected token maps of side 8, 16, 32, ..., got 12 x 12"),
    ],
)
def test_features_of_another_kind_are_one_line(
    evaluate_module: ModuleType, evaluate: Callable, monkeypatch, side, dim, expected
) -> None:
    monkeypatch.setattr(evaluate_module, "load_named_split", lambda *args: _split(side, dim))
    assert expected in evaluate()


def test_refinement_needs_a_silhouette_head(
    evaluate_module: ModuleType, evaluate: Callable, workdir: Path, monkeypatch
) -> None:
    run = restore_run(workdir)
    run.config.model.silhouette_hidden = 0
    monkeypatch.setattr(evaluate_module, "restore_run", lambda workdir: run)
    line = evaluate("--refine_steps=5")
    assert "--refine_steps: expected 0 for a run without a silhouette head, got 5" in line
