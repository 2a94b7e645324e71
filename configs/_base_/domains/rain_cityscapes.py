domain = dict(
    name="rain_cityscapes",
    title="RainCityscapes",
    dataset=dict(type="ibnseg.RainCityscapes"),
    data_root="cityscapes",  # beside gtFine, whose labels are used
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="city",  # frames of one city are alike
)
