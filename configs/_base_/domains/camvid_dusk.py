_base_ = "camvid.py"
domain = dict(
    name="camvid_dusk",
    title="CamVid dusk",
    dataset=dict(sequences=("0001TP",)),
    test_split="train",  # the split that has this sequence; nothing trains on it
)
