_base_ = "acdc_night.py"
domain = dict(
    name="acdc_night_ref",
    title="ACDC night, reference",  # the same places in good weather by day
    train_split="train_ref",
    test_split="val_ref",
)
