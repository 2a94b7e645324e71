domain = dict(
    name="streets_fog",
    title="Fog streets",
    dataset=dict(type="ibnseg.Cityscapes"),  # they lie on disk as it does
    data_root="streets_fog",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all 19
    group="generated",
)
