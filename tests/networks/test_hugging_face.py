"""Networks of transformers: what their files say, and that they give what transformers gives."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ibnseg.networks.facts import Facts
from ibnseg.networks.hugging_face import _snapshot, build, configure, scores_of_masks
from ibnseg.support.errors import UserError

NAMES = ("road", "sidewalk", "building", "car", "sky")
CONFIG = dict(
    architectures=["SegformerForSemanticSegmentation"],
    model_type="segformer",
    id2label={str(i): name for i, name in enumerate(NAMES)},
)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PREPROCESSOR = dict(
    do_normalize=True, do_rescale=True, rescale_factor=1 / 255, image_mean=MEAN, image_std=STD
)
CARD = """---
license: other
license_name: for-research
datasets:
- org/cityscapes
---
# A network
"""


def write(folder: Path, config: dict = CONFIG, preprocessor: dict = PREPROCESSOR) -> str:
    """Writes a network's folder, with weights that are none, and returns how it is named."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    (folder / "README.md").write_text(CARD)
    (folder / "model.safetensors").write_bytes(b"weights")
    return f"hf:{folder}"


def facts(source: str) -> Facts:
    return Facts.of(configure(source)["model"]["facts"])


def error_of(source: str, function=configure, *more: object) -> str:
    with pytest.raises(UserError) as caught:
        function(source, *more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_says_classes_normalisation_licence_and_training_data(tmp_path: Path) -> None:
    cfg = configure(write(tmp_path / "small-net"))
    found = cfg["model"]["facts"]
    assert cfg["name"] == "small-net"
    assert found["title"] == "small-net"
    assert found["classes"] == [*NAMES]
    assert (found["channels"], found["range"]) == ("RGB", 1)
    assert (found["mean"], found["std"]) == (MEAN, STD)
    assert (found["size"], found["stride"]) == (None, None)
    assert found["trained_on"] == cfg["train_domain"] == "cityscapes"
    assert cfg["foreign"]["licence"] == "for-research"
    assert cfg["foreign"]["kind"] == "Hugging Face"


def test_the_file_beside_the_weights_overrides_what_they_say(tmp_path: Path) -> None:
    source = write(tmp_path)
    (tmp_path / "ibnseg.json").write_text(json.dumps(dict(title="Mine", trained_on="gta5")))
    found = facts(source)
    assert (found.title, found.trained_on, found.classes) == ("Mine", "gta5", NAMES)


def test_the_hash_is_of_all_weights_and_the_config(tmp_path: Path) -> None:
    source = write(tmp_path)
    hashes = [configure(source)["foreign"]["sha256"]]
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"more")
    hashes.append(configure(source)["foreign"]["sha256"])
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "strides": [2]}))
    hashes.append(configure(source)["foreign"]["sha256"])
    assert len(set(hashes)) == 3
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read if there are safetensors")
    assert configure(source)["foreign"]["sha256"] == hashes[-1]


@pytest.mark.parametrize(
    ("changes", "expected_range", "factor", "mean", "std"),
    [
        ({}, 1, 1 / 255, MEAN, STD),
        ({"rescale_factor": 0.00392156862745098}, 1, 1 / 255, MEAN, STD),
        ({"rescale_factor": 1 / 127.5}, 255, 1 / 127.5, MEAN, STD),
        (
            {"do_rescale": False, "image_mean": [9] * 3, "image_std": [8] * 3},
            255,
            1,
            [9] * 3,
            [8] * 3,
        ),
        ({"do_normalize": False}, 1, 1 / 255, [0, 0, 0], [1, 1, 1]),
        ({"do_normalize": False, "do_rescale": False}, 255, 1, [0, 0, 0], [1, 1, 1]),
    ],
)
def test_normalisation_is_that_of_the_preprocessor(
    tmp_path: Path, changes: dict, expected_range: int, factor: float, mean: list, std: list
) -> None:
    found = facts(write(tmp_path, preprocessor={**PREPROCESSOR, **changes}))
    assert found.range == expected_range
    pixels = np.array([[0.0, 17.0, 255.0]] * 3)
    ours = (pixels / 255 * found.range - np.c_[list(found.mean)]) / np.c_[list(found.std)]
    theirs = (pixels * factor - np.c_[mean]) / np.c_[std]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_mean_of_fractions_without_rescaling_is_refused(tmp_path: Path) -> None:
    """Whoever calls such a preprocessor is to scale images, which it does not say."""
    source = write(tmp_path, preprocessor={**PREPROCESSOR, "do_rescale": False})
    assert "are not those of pixels from 0 to 255; state the range" in error_of(source)


def test_a_preprocessor_of_older_versions_rescales_without_saying_so(tmp_path: Path) -> None:
    older = dict(do_normalize=True, image_mean=MEAN, image_std=STD)
    found = facts(write(tmp_path, preprocessor=older))
    assert (found.range, list(found.mean)) == (1, MEAN)


@pytest.mark.parametrize(
    "preprocessor",
    [
        {},
        dict(image_mean=MEAN, image_std=STD),  # whether they are applied is not said
        {**PREPROCESSOR, "rescale_offset": True},
        {**PREPROCESSOR, "image_mean": 0.5},
        {**PREPROCESSOR, "rescale_factor": 0},
    ],
)
def test_an_unclear_normalisation_is_asked_for(tmp_path: Path, preprocessor: dict) -> None:
    said = error_of(write(tmp_path, preprocessor=preprocessor))
    assert "range, mean, std not known" in said
    assert str(tmp_path / "ibnseg.json") in said


def test_flipped_channels_and_the_needs_of_the_input_are_known(tmp_path: Path) -> None:
    flipped = {**PREPROCESSOR, "do_flip_channel_order": True, "size_divisor": 32}
    found = facts(write(tmp_path / "a", preprocessor=flipped))
    assert (found.channels, found.stride, found.size) == ("BGR", 32, None)
    beit = {**CONFIG, "model_type": "beit", "patch_size": 16, "image_size": 64}
    assert facts(write(tmp_path / "b", beit)).stride == 16
    eomt = {**CONFIG, "model_type": "eomt", "image_size": 64}
    assert facts(write(tmp_path / "c", eomt)).size == (64, 64)


@pytest.mark.parametrize("labels", [None, {"0": "LABEL_0", "1": "LABEL_1"}, {"1": "road"}])
def test_classes_without_names_are_asked_for(tmp_path: Path, labels: dict | None) -> None:
    said = error_of(write(tmp_path, {**CONFIG, "id2label": labels}))
    assert "classes not known" in said


@pytest.mark.parametrize("card", ["no head", "---\na: [\n---\n", "---\n- a\n---\n", "---\na: 1"])
def test_a_card_without_a_readable_head_says_nothing(tmp_path: Path, card: str) -> None:
    source = write(tmp_path)
    (tmp_path / "README.md").write_text(card)
    assert "trained_on not known" in error_of(source)


def test_of_several_sets_of_data_none_is_the_training_domain(tmp_path: Path) -> None:
    source = write(tmp_path)
    (tmp_path / "README.md").write_text("---\ndatasets: [imagenet, cityscapes]\n---\n")
    assert "trained_on not known" in error_of(source)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "no config.json in it"),
        ("config.json", "{", "not JSON"),
        ("config.json", "[]", "is not a JSON object"),
        (
            "config.json",
            json.dumps({**CONFIG, "architectures": ["SegformerForImageClassification"]}),
            "SegformerForImageClassification",
        ),
        ("config.json", json.dumps({**CONFIG, "architectures": None}), "architectures is None"),
        ("config.json", json.dumps({**CONFIG, "auto_map": {"AutoModel": "a.B"}}), "never run"),
        ("model.safetensors", None, "no weights in it"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    source = write(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    message = error_of(source)
    assert said in message
    assert str(tmp_path) in message
    assert error_of(source, build, None) == message


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in error_of(f"hf:{tmp_path}/nothing")
    assert error_of("hf:") == "hf:: expected hf:NAME or hf:FOLDER"
    (tmp_path / "file").touch()
    assert "is a file" in error_of(f"hf:{tmp_path}/file")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of huggingface_hub in offline mode, and an empty working folder."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _snapshot.cache_clear()
    yield tmp_path / "hub"
    _snapshot.cache_clear()


def test_a_network_of_the_hub_is_taken_from_the_cache(hub: Path) -> None:
    repository = hub / "models--org--small-net"
    write(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    cfg = configure("hf:org/small-net")
    assert (cfg["name"], cfg["train_domain"]) == ("small-net", "cityscapes")
    Path("small-net.json").write_text(json.dumps(dict(trained_on="gta5")))
    assert facts("hf:org/small-net").trained_on == "gta5"


@pytest.mark.parametrize("name", ["org/small-net", "a b/c/d"])
def test_a_network_that_is_nowhere_is_refused(hub: Path, name: str) -> None:
    said = error_of(f"hf:{name}")
    assert f"hf:{name}: no such folder, not in the cache" in said


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    said = error_of(write(tmp_path), build, None)
    assert "transformers cannot be imported" in said
    assert "ibnseg[hf]" in said


def test_scores_of_classes_are_sums_over_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(2, 3, 4, generator=generator)
    masks = torch.randn(2, 3, 5, 6, generator=generator)
    found = scores_of_masks(classes, masks)
    assert found.shape == (2, 3, 5, 6)
    share = np.exp(classes.double().numpy())
    share /= share.sum(-1, keepdims=True)
    mask = 1 / (1 + np.exp(-masks.double().numpy()))
    expected = sum(share[:, q, :3, None, None] * mask[:, q, None] for q in range(3))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny SegFormer with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=8,
        num_attention_heads=[1] * 4,
        id2label=dict(enumerate(NAMES)),
    )
    folder = tmp_path_factory.mktemp("segformer")
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(segformer: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(segformer, tmp_path / "copied"))


IMAGES = torch.rand(2, 3, 48, 65, generator=torch.Generator().manual_seed(1))


def predicted(source: str) -> torch.Tensor:
    with torch.inference_mode():
        return build(source, None).eval()(IMAGES)


@pytest.mark.extras
def test_logits_are_those_of_transformers(segformer: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

    network = SegformerForSemanticSegmentation.from_pretrained(segformer)
    with torch.inference_mode():
        expected = network(IMAGES).logits
    assert expected.shape == (2, 5, 12, 17)
    assert torch.equal(predicted(f"hf:{segformer}"), expected)


@pytest.mark.extras
def test_a_network_of_masks_predicts_what_transformers_does() -> None:
    """Its post-processing first resizes masks to 384x384, so these have that size already."""
    processor = pytest.importorskip("transformers").Mask2FormerImageProcessor()
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerForUniversalSegmentationOutput as Output,
    )

    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 7, 6, generator=generator)
    masks = torch.randn(1, 7, 384, 384, generator=generator)
    output = Output(class_queries_logits=classes, masks_queries_logits=masks)
    theirs = processor.post_process_semantic_segmentation(output)
    assert torch.equal(scores_of_masks(classes, masks).argmax(1)[0], theirs[0])


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["mask2former", "maskformer", "eomt"])
def test_networks_of_masks_are_opened(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    stages = [f"stage{i}" for i in range(1, 5)]
    labels = dict(enumerate(NAMES))
    swin = transformers.SwinConfig(
        embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2, out_features=stages
    )
    if kind == "mask2former":
        network = transformers.Mask2FormerForUniversalSegmentation(
            transformers.Mask2FormerConfig(
                backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32,
                encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2,
                num_attention_heads=2, dim_feedforward=16, num_queries=7, id2label=labels,
            )
        )  # fmt: skip
    elif kind == "maskformer":
        decoder = transformers.DetrConfig(
            d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
            decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, num_queries=7,
        )  # fmt: skip
        network = transformers.MaskFormerForInstanceSegmentation(
            transformers.MaskFormerConfig(
                backbone_config=swin, decoder_config=decoder, fpn_feature_size=32,
                mask_feature_size=32, id2label=labels,
            )
        )  # fmt: skip
    else:
        network = transformers.EomtForUniversalSegmentation(
            transformers.EomtConfig(
                hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=64,
                num_blocks=2, num_queries=7, num_upscale_blocks=1, id2label=labels,
            )
        )  # fmt: skip
    network.save_pretrained(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        output = network.eval()(images)
        found = build(f"hf:{tmp_path}", None).eval()(images)
    expected = scores_of_masks(output.class_queries_logits, output.masks_queries_logits)
    assert found.shape[:2] == (2, 5)
    torch.testing.assert_close(found, expected)


@pytest.mark.extras
def test_weights_are_loaded_as_float32(segformer: Path, tmp_path: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

    network = SegformerForSemanticSegmentation.from_pretrained(segformer, dtype=torch.float32)
    network.half().save_pretrained(tmp_path)
    found = predicted(f"hf:{tmp_path}")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, predicted(f"hf:{segformer}"), atol=1e-2, rtol=1e-2)


def as_pickle(folder: Path, content: object) -> str:
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        if isinstance(content, dict):
            torch.save(content, file)
        else:
            pickle.dump(content, file, protocol=2)
    return f"hf:{folder}"


@pytest.mark.extras
def test_a_pickle_of_tensors_is_read_too(segformer: Path, copied: Path) -> None:
    from safetensors.torch import load_file

    source = as_pickle(copied, load_file(segformer / "model.safetensors"))
    torch.testing.assert_close(predicted(source), predicted(f"hf:{segformer}"))


class _Runs:
    """What a pickle runs when it is read as one."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


@pytest.mark.extras
def test_a_pickle_with_code_is_refused_and_not_run(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot be loaded" in error_of(as_pickle(copied, _Runs()), build, None)
    assert not Path("touched").exists()


@pytest.mark.extras
def test_damaged_and_incomplete_weights_are_refused(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = copied / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be loaded" in error_of(f"hf:{copied}", build, None)
    path.write_bytes(whole)
    weights = load_file(path)
    head = weights.pop("decode_head.classifier.weight")
    save_file(weights, path, {"format": "pt"})
    said = error_of(f"hf:{copied}", build, None)
    assert "lack decode_head.classifier.weight, or" in said
    save_file({**weights, "decode_head.classifier.weight": head[:4]}, path, {"format": "pt"})
    error_of(f"hf:{copied}", build, None)
