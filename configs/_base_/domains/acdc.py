domain = dict(
    name="acdc",
    title="ACDC",
    dataset=dict(type="ibnseg.ACDC"),
    data_root="acdc",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="drive",  # frames of one drive are alike
)
