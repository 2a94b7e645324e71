domain = dict(
    name="a2d2",
    title="A2D2",
    dataset=dict(type="ibnseg.A2D2"),
    data_root="a2d2",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels become: 14 of the 19
    group="sequence",  # names begin with the time of the drive
)
