"""How well is the animal found in a photograph, and what does a reconstruction lose without a mask?

    python -m experiments.benchmarks.find_animals --model=horse.pony --images=weizmann_horse_db

On the held-out Weizmann photographs as they are, and on the same animals put, smaller, into the
surroundings of other held-out photographs (from which their animals were taken out). Scores:

- crop IoU: of the square that was found and the one that the true mask gives;
- mask IoU: of the reconstruction's silhouette and the true mask, at the photograph's resolution;
  once with the true mask given, and once without.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import pony_jax
from pony_jax.data import photographs, weizmann_horse
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.evaluation.metrics import summarise
from pony_jax.features.scenes import MaskedPicture, place_in, without_animal
from pony_jax.features.square_views import Square
from pony_jax.reconstruction.animal import Animal


def pictures(images: str) -> Iterator[tuple[str, str, MaskedPicture]]:
    """Set, name and picture: each photograph, and its animal in another one's surroundings."""
    rng = np.random.default_rng(0)
    behind: Image.Image | None = None
    found = weizmann_horse.find_photographs(images)
    for photograph in (p for p in getattr(found, "photographs", found) if p.split == "test"):
        picture = MaskedPicture(*photographs.read_whole(photograph))
        yield "photographs", photograph.id, picture
        if behind is not None:
            yield "scenes", photograph.id, place_in(picture, behind, rng)
        behind = without_animal(picture)


def crop_overlap(animal: Animal, mask: Image.Image, picture: Image.Image) -> float:
    """IoU of the animal's crop and the crop of a mask."""
    true = photographs.crop_around(picture, mask).box
    return Square(*animal.box_px[:3]).overlap(Square(*map(float, true[1:4])))


def mask_overlap(animal: Animal, mask: Image.Image) -> float:
    """IoU of the animal's silhouette and a mask of the photograph."""
    x0, y0, side, _ = map(round, animal.box_px)
    drawn = Image.fromarray(np.uint8(np.clip(animal.mask, 0, 1) * 255))
    whole = Image.new("L", mask.size)
    whole.paste(drawn.resize((side, side), Image.Resampling.BILINEAR), (x0, y0))
    ours, true = np.asarray(whole) > 127, np.asarray(mask) > 127
    return float(np.sum(ours & true) / max(np.sum(ours | true), 1))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--no_refinement", action="store_true")
    arguments = parser.parse_args()
    model = pony_jax.load(Path(arguments.model))
    scores: dict[str, dict[str, list[float]]] = {}
    for kind, name, (image, mask) in pictures(arguments.images):
        of_kind = scores.setdefault(kind, {})
        refine = not arguments.no_refinement
        given = mask_overlap(model.reconstruct(image, mask, refine=refine), mask)
        try:
            animal = model.reconstruct(image, refine=refine)
            crop, without = crop_overlap(animal, mask, image), mask_overlap(animal, mask)
        except BadPhotographError:
            crop = without = 0.0
        for column, score in [("crop", crop), ("mask given", given), ("no mask", without)]:
            of_kind.setdefault(column, []).append(score)
        print(f"{kind} {name}: crop {crop:.3f}, mask {given:.3f} given, {without:.3f} not")
    print("| set | pictures | crop IoU | mask IoU, mask given | mask IoU, no mask |")
    print("|---|---|---|---|---|")
    for kind, columns in scores.items():
        cells = [
            f"{summary['mean']:.3f} ({summary['median']:.3f})"
            for summary in (summarise(np.array(values)) for values in columns.values())
        ]
        print(f"| {kind} | {len(columns['crop'])} | {' | '.join(cells)} |")
    print("Means, medians in brackets.")


if __name__ == "__main__":
    main()
