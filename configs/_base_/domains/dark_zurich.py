domain = dict(
    name="dark_zurich",
    title="Dark Zurich",
    dataset=dict(type="ibnseg.DarkZurich"),
    data_root="dark_zurich",
    train_split="val",  # for testing: no other images have labels
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="drive",  # frames of one drive are alike
)
