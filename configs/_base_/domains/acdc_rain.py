_base_ = "acdc.py"
domain = dict(
    name="acdc_rain",
    title="ACDC rain",
    dataset=dict(conditions=("rain",)),
)
