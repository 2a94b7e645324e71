domain = dict(
    name="foggy_zurich",
    title="Foggy Zurich",
    dataset=dict(type="ibnseg.FoggyZurich"),
    data_root="foggy_zurich",
    train_split="testv2",  # for testing: no other images have labels
    test_split="testv2",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="drive",  # frames of one drive are alike
)
