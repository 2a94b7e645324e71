domain = dict(
    name="urbansyn",
    title="UrbanSyn",
    dataset=dict(type="ibnseg.UrbanSyn"),
    data_root="urbansyn",
    train_split="train",  # the first 6016; "all" has all 7539, also those of val
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="image",  # no images are known to be alike
)
