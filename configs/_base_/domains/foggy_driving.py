domain = dict(
    name="foggy_driving",
    title="Foggy Driving",
    dataset=dict(type="ibnseg.FoggyDriving"),
    data_root="foggy_driving",
    train_split="testall",  # for testing: no other images have labels
    test_split="testall",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="image",  # no images are known to be alike
)
