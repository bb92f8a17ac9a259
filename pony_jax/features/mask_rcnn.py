"""Masks by torchvision's Mask R-CNN, which knows the classes of COCO. Needs PyTorch."""

import os

import numpy as np
from PIL import Image

from pony_jax.features.errors import ExtractionError, MissingPackageError, MissingWeightsError

MASK_RCNN = "mask_rcnn"

_MIN_SCORE = 0.7
"""Of a detection, from which on it counts as an animal."""

_COCO_CLASSES = {
    "bird": 16,
    "cat": 17,
    "dog": 18,
    "horse": 19,
    "sheep": 20,
    "cow": 21,
    "elephant": 22,
    "bear": 23,
    "zebra": 24,
    "giraffe": 25,
}
"""Numbers of COCO's animals, as torchvision's networks return them."""


class MaskRcnn:
    """torchvision's `maskrcnn_resnet50_fpn_v2` for one class; a maker of masks."""

    def __init__(self, animal: str, weights: str | os.PathLike[str] | None = None):
        """Loads the network.

        Args:
          weights: file of torchvision's COCO weights; None fetches them.

        Raises:
          ExtractionError: for an unknown class, or weights of another network.
          MissingPackageError: without torchvision.
          MissingWeightsError: where the weights are not there and cannot be fetched.
        """
        if animal not in _COCO_CLASSES:
            raise ExtractionError(
                f"expected {MASK_RCNN}:CLASS with a class of {', '.join(_COCO_CLASSES)}, got "
                f"{animal!r}"
            )
        try:
            import torch
            from torchvision.models.detection import (
                MaskRCNN_ResNet50_FPN_V2_Weights,
                maskrcnn_resnet50_fpn_v2,
            )
        except ImportError as error:
            raise MissingPackageError(
                f"expected the package torchvision for {MASK_RCNN}, found none; install it, or "
                "name a trained model with --mask_model"
            ) from error
        self.name = f"{MASK_RCNN}:{animal}"
        self._class, self._torch = _COCO_CLASSES[animal], torch
        published = MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1
        network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
        if weights is not None and not os.path.isfile(weights):
            raise MissingWeightsError(
                f"expected the weights of {MASK_RCNN} at {weights}, found no such file"
            )
        try:
            if weights is None:
                state = published.get_state_dict(progress=True, check_hash=True)
            else:
                state = torch.load(weights, map_location="cpu", weights_only=True)
        except OSError as error:
            raise MissingWeightsError(
                f"expected to fetch {published.url}, failed ({error}); fetch it elsewhere and give "
                "the file with --mask_weights, or name a trained model with --mask_model"
            ) from error
        except Exception as error:  # of a damaged file, whatever its parsing meets
            raise ExtractionError(
                f"expected weights of PyTorch in {weights}, found a damaged or other file; fetch "
                f"{published.url} again"
            ) from error
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ExtractionError(
                f"expected the weights of maskrcnn_resnet50_fpn_v2 in {weights}, found others; "
                f"fetch {published.url}"
            ) from error
        self._network = network.eval()

    def __call__(self, picture: Image.Image) -> list[Image.Image]:
        """Masks (L) of the animals in an RGB picture, largest first."""
        torch = self._torch
        pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
        with torch.inference_mode():
            found = self._network([torch.from_numpy(pixels)])[0]
        chosen = (found["labels"] == self._class) & (found["scores"] > _MIN_SCORE)
        masks = found["masks"][chosen, 0].numpy() > 0.5
        order = np.argsort([-mask.sum() for mask in masks], kind="stable")
        return [Image.fromarray(np.where(masks[i], 255, 0).astype(np.uint8)) for i in order]
