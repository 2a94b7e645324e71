_base_ = "acdc_fog.py"
domain = dict(
    name="acdc_fog_ref",
    title="ACDC fog, reference",  # the same places in good weather by day
    train_split="train_ref",
    test_split="val_ref",
)
