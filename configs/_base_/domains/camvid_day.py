_base_ = "camvid.py"
domain = dict(
    name="camvid_day",
    title="CamVid day",
    dataset=dict(sequences=("0006R0", "0016E5")),
)
