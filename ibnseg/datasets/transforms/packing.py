"""The last steps of a pipeline: further views of an image, and tensors for the network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError


@TRANSFORMS.register_module()
class FurtherView(BaseTransform):
    """Keeps a further view of ``img``, e.g. in other colours, for the losses that compare views.

    It is one of the steps of ``augment``. ``transforms`` run on a copy of the image as it is at
    that step, and the result is packed under ``name`` beside the image, which stays as it is. With
    no transforms, the view is the image before the steps that follow.

    The pixels of a view are those of the label: transforms may change colours and never move
    anything, neither in ``transforms`` nor, once a view is kept, in the steps that follow.

    Args:
        name: the view's name, an identifier other than ``image``.
        transforms: the configs of the steps from the image to the view.

    Raises:
        UserError: if the name is not such an identifier, if another view has it, or if a transform
            moves pixels.
    """

    def __init__(self, name: str, transforms: Sequence[dict] = ()) -> None:
        if not (isinstance(name, str) and name.isidentifier() and name != "image"):
            raise UserError(
                f"FurtherView: name is {name!r}, expected an identifier other than 'image'"
            )
        self.name = name
        self.steps = Compose([TRANSFORMS.build(transform) for transform in transforms])

    def transform(self, results: dict) -> dict:
        views = results.setdefault("views", {})
        if self.name in views:
            raise UserError(f"FurtherView: two views are called '{self.name}'; rename one")
        shown = self.steps({**results, "img": results["img"].copy(), "views": {}})
        _require_in_place(self.name, shown["img"], shown.get("gt_seg_map"), results)
        views[self.name] = shown["img"], results.get("gt_seg_map")
        return results


def _require_in_place(name: str, view: np.ndarray, label: np.ndarray | None, results: dict) -> None:
    """Refuses a view whose image or label has other pixels than the sample's own."""
    image, own = results["img"], results.get("gt_seg_map")
    moved = own is not label and not np.array_equal(own, label)
    if moved or view.shape != image.shape:
        raise UserError(
            f"FurtherView '{name}': its pixels are no longer those of the image and label; only "
            "steps that leave everything in its place may be in its transforms or follow it in "
            "augment"
        )


@TRANSFORMS.register_module()
class Pack(BaseTransform):
    """Packs ``inputs``, (3, H, W) uint8, and a ``SegDataSample``; labels stay uint8 on their way to
    the device.

    Further views are in the sample's ``views``, a ``PixelData`` with a (3, H, W) tensor for each
    name.

    Instances become int16 of the same bits, because not every device has uint16. They are left out
    if the label was resized or cropped after loading, because their sizes would no longer be those
    of the stored map.
    """

    META = ("img_path", "ori_shape", "img_shape")
    FLIP = ("flip", "flip_direction")

    def transform(self, results: dict) -> dict:
        keys = (*self.META, *(key for key in self.FLIP if key in results))
        sample = SegDataSample(metainfo={key: results[key] for key in keys})
        if "gt_seg_map" in results:
            label = _contiguous(results["gt_seg_map"])[None]
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(label))
            instances = results.get("gt_instance_map")
            if instances is not None and instances.shape == label.shape[1:]:
                ids = torch.from_numpy(instances.view(np.int16)[None])
                sample.gt_instance_ids = PixelData(data=ids)
        views = {}
        for name, (view, label_then) in results.get("views", {}).items():
            _require_in_place(name, view, label_then, results)
            views[name] = _channels_first(view)
        if views:
            sample.views = PixelData(**views)
        return dict(inputs=_channels_first(results["img"]), data_samples=sample)


def _channels_first(image: np.ndarray) -> torch.Tensor:
    mirrored = _is_mirrored(image)
    planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(image[:, ::-1] if mirrored else image, list(planes))
    for plane in planes if mirrored else ():
        cv2.flip(plane, 1, plane)
    return torch.from_numpy(planes)


def _contiguous(label: np.ndarray) -> np.ndarray:
    return cv2.flip(label[:, ::-1], 1) if _is_mirrored(label) else np.ascontiguousarray(label)


def _is_mirrored(pixels: np.ndarray) -> bool:
    """Whether pixels are a view that RandomFlip left; OpenCV mirrors faster than NumPy, and planes
    faster than channels."""
    return pixels.strides[1] < 0
