"""Which images of a test were trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from mmengine.logging import MMLogger
from torch.utils.data import Dataset


def image_files(dataset: Dataset) -> set[str]:
    """Lists the image files of a dataset, with links followed."""
    return {os.path.realpath(dataset.get_data_info(i)["img_path"]) for i in range(len(dataset))}


def warn_of_trained_images(
    trained: Dataset, tests: Sequence[Mapping], tested: Mapping[str, Dataset], logger: MMLogger
) -> None:
    """Warns of each test that has images which are trained on, because its numbers would not be
    those of new images.

    Args:
        trained: the training data.
        tests: facts of the tests, each with ``name``, ``domain`` and ``split``.
        tested: the data of each test, by its name.
        logger: gets the warnings, one for each domain and split.
    """
    files = image_files(trained)
    by_place = {(test["domain"], test["split"]): tested[test["name"]] for test in tests}
    for (domain, split), dataset in by_place.items():
        common = files & image_files(dataset)
        if common:
            logger.warning(
                f"{domain} {split}: {len(common)} of {len(dataset)} tested images are trained on, "
                f"e.g. {min(common)}, so this test says little about new images; choose a "
                "train_split and a test_split without common images"
            )
