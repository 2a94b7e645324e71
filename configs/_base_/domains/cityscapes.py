domain = dict(
    name="cityscapes",
    title="Cityscapes",
    dataset=dict(type="ibnseg.Cityscapes"),
    data_root="cityscapes",
    train_split="train",
    test_split="val",
    train_resize=None,  # crops from full resolution [paper]
    eval_classes=None,  # all that its labels have: 19
    group="city",  # frames of one city are alike
)
