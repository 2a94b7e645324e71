_base_ = "acdc_rain.py"
domain = dict(
    name="acdc_rain_ref",
    title="ACDC rain, reference",  # the same places in good weather by day
    train_split="train_ref",
    test_split="val_ref",
)
