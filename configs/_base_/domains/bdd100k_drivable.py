domain = dict(
    name="bdd100k_drivable",
    title="BDD100K drivable",
    dataset=dict(type="ibnseg.BDD100KDrivable"),
    data_root="bdd100k",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=("direct", "alternative"),  # the headline, see docs/drivable.md
    group="image",  # each comes from another drive
)
