domain = dict(
    name="mine",
    title="Rail by day",
    dataset=dict(type="ibnseg.RailDrives"),
    data_root="mine",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all four
    group="city",  # the name of the folder: frames of one drive are alike
)
