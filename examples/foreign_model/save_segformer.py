"""Saves a tiny SegFormer of transformers, with random weights, in the folder ``segformer``."""

import json
from pathlib import Path

import torch
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from ibnseg.datasets.labels import CLASSES

torch.manual_seed(0)
config = SegformerConfig(
    depths=[1, 1, 1, 1],
    hidden_sizes=[8, 16, 32, 64],
    num_attention_heads=[1, 1, 2, 4],
    decoder_hidden_size=32,
    id2label=dict(enumerate(CLASSES)),
)
SegformerForSemanticSegmentation(config).save_pretrained("segformer")
SegformerImageProcessor().save_pretrained("segformer")
Path("segformer/ibnseg.json").write_text(json.dumps(dict(trained_on="nothing")))
