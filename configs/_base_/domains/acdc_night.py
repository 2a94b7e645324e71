_base_ = "acdc.py"
domain = dict(
    name="acdc_night",
    title="ACDC night",
    dataset=dict(conditions=("night",)),
)
