domain = dict(
    name="nightcity",
    title="NightCity",
    dataset=dict(type="ibnseg.NightCity"),
    data_root="nightcity",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="sequence",  # frames of one city, which names begin with, are alike
)
