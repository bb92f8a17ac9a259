"""Examples as `pony_jax.data.render_rigged` makes them, of an animal that is a square."""

import numpy as np

from pony_jax.data import schema

SIZE_PX = 40
SHARED = {
    "model_names": np.array(["square"]),
    "faces": np.array([[[0, 1, 2], [0, 2, 3]]]),
    "bone_names": np.array([["Body"]]),
    "keypoint_names": np.array(["Body"]),
}


def make_examples(num_train: int = 5, num_test: int = 2) -> list[dict]:
    """Squares whose place is that of the truth."""
    rng = np.random.default_rng(0)
    counts = {"train": num_train, "test": num_test}
    names = [f"{split}_{i:05d}" for split, count in counts.items() for i in range(count)]
    examples = []
    for number, name in enumerate(names):
        pixels = rng.integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8)
        mask = np.zeros((SIZE_PX, SIZE_PX, 1), np.uint8)
        mask[8:30, 6 : 30 + number % 3] = 255
        half = SIZE_PX / 2
        examples.append(
            {
                "id": name,
                "image": schema.encode_png(pixels),
                "mask": schema.encode_png(mask),
                "box": np.array(
                    [0, half, half, SIZE_PX, SIZE_PX, 2 * SIZE_PX, 2 * SIZE_PX, 0], np.float32
                ),
                "truth": {
                    "rotation": np.eye(3, dtype=np.float32),
                    "azimuth_deg": np.float32(number),
                    "verts_posed": rng.normal(size=(4, 3)).astype(np.float16),
                    "keypoints_visible": np.ones(1, np.uint8),
                    "model": np.int64(0),
                },
            }
        )
    return examples
