_base_ = "acdc_snow.py"
domain = dict(
    name="acdc_snow_ref",
    title="ACDC snow, reference",  # the same places in good weather by day
    train_split="train_ref",
    test_split="val_ref",
)
