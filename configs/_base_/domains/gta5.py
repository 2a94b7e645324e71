domain = dict(
    name="gta5",
    title="GTA5",
    dataset=dict(type="ibnseg.GTA5"),
    data_root="gta5",
    train_split="train",
    test_split="val",
    train_resize=(1024, 563),  # [paper]
    eval_classes=None,  # all that its labels have: 19
    group="stretch",  # frames of consecutive numbers are alike
)
