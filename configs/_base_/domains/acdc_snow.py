_base_ = "acdc.py"
domain = dict(
    name="acdc_snow",
    title="ACDC snow",
    dataset=dict(conditions=("snow",)),
)
