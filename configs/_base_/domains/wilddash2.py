domain = dict(
    name="wilddash2",
    title="WildDash 2",
    dataset=dict(type="ibnseg.WildDash2"),
    data_root="wilddash2",
    train_split="all",  # there is no other
    test_split="all",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="image",  # each is of another drive
)
