domain = dict(
    name="camvid32",
    title="CamVid, 32 classes",
    dataset=dict(type="ibnseg.CamVid32"),
    data_root="camvid32",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # the 15 that its labels become
    group="sequence",  # frames of one drive are alike
)
