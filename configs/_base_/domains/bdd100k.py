domain = dict(
    name="bdd100k",
    title="BDD100K",
    dataset=dict(type="ibnseg.BDD100K"),
    data_root="bdd100k",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all 19
    group="image",  # each comes from another drive
)
