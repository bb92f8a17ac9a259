"""What people should know of a model before they use it."""

from collections.abc import Mapping
from typing import Any

from pony_jax.reconstruction.learned import Learned


def make_card(
    learned: Learned, *, data: str, data_license: str, license: str, commit: str, notes: str
) -> dict[str, Any]:
    """The card of a model: what it learned from, under which terms, and how well."""
    return {
        "category": learned.name,
        "data": data,
        "data_license": data_license,
        "license": license,
        "num_updates": learned.num_updates,
        "scores": _short_scores(learned.card.get("scores", {})),
        "commit": commit,
        "notes": notes,
    }


def card_as_text(learned: Learned) -> str:
    """The card as Markdown, with the header that the Hugging Face Hub reads."""
    card = learned.card
    lines = [
        "---",
        "library_name: pony_jax",
        "pipeline_tag: image-to-3d",
        "---",
        f"# {learned.name}",
        "",
        "A model of pony_jax: one photograph in, a rigged 3D animal out.",
        "",
        "```python",
        "import pony_jax",
        "",
        'model = pony_jax.load("hf://OWNER/NAME")',
        'model.reconstruct("photograph.jpg").export("animal.glb")',
        "```",
        "",
        f"- Backbone: {learned.backbone} (weights {learned.backbone_sha256[:12]}...)",
    ]
    lines += [
        f"- {key.replace('_', ' ')}: {_inline(value)}" for key, value in card.items() if value
    ]
    return "\n".join(lines) + "\n"


def _short_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """The mean of each score, and how many images it is of."""
    short = {
        name: round(float(value["mean"]), 4)
        for name, value in scores.items()
        if isinstance(value, Mapping) and "mean" in value
    }
    if "num_images" in scores:
        short["num_images"] = scores["num_images"]
    return short


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)
