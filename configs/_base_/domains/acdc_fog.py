_base_ = "acdc.py"
domain = dict(
    name="acdc_fog",
    title="ACDC fog",
    dataset=dict(conditions=("fog",)),
)
