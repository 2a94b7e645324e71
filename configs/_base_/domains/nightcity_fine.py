domain = dict(
    name="nightcity_fine",
    title="NightCity-fine",
    dataset=dict(type="ibnseg.NightCityFine"),
    data_root="nightcity_fine",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="sequence",  # frames of one city, which names begin with, are alike
)
