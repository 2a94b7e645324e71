domain = dict(
    name="camvid",
    title="CamVid",
    dataset=dict(type="ibnseg.CamVid"),
    data_root="camvid",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # the 11 that its labels have
    group="sequence",  # frames of one drive are alike
)
