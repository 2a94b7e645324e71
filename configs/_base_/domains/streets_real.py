domain = dict(
    name="streets_real",
    title="Real streets",
    dataset=dict(type="ibnseg.Cityscapes"),  # the streets are stored in its layout
    data_root="streets_real",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all 19
    group="image",  # each layout is drawn anew
)
