domain = dict(
    name="viper",
    title="VIPER",
    dataset=dict(type="ibnseg.VIPER"),
    data_root="viper",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 16 of the 19
    group="drive",  # frames of one sequence are alike
)
