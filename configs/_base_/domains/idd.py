domain = dict(
    name="idd",
    title="IDD",
    dataset=dict(type="ibnseg.IDD"),
    data_root="idd",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="drive",  # frames of one drive are alike
)
