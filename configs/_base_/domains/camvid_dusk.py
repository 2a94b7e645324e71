_base_ = "camvid.py"
domain = dict(
    name="camvid_dusk",
    title="CamVid dusk",
    dataset=dict(sequences=("0001TP",)),
    test_split="train",  # where the sequence lies; nothing trains on it
)
