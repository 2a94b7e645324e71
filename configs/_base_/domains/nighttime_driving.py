domain = dict(
    name="nighttime_driving",
    title="Nighttime Driving",
    dataset=dict(type="ibnseg.NighttimeDriving"),
    data_root="nighttime_driving",
    train_split="test",  # for testing: no other images have labels
    test_split="test",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="sequence",  # frames of one drive are alike
)
