domain = dict(
    name="foggy_cityscapes",
    title="Foggy Cityscapes 0.02",
    dataset=dict(type="ibnseg.FoggyCityscapes", betas=("0.02",)),
    data_root="cityscapes",  # beside gtFine, whose labels are used
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="city",  # frames of one city are alike
)
