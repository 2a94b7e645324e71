domain = dict(
    name="mapillary",
    title="Mapillary Vistas",
    dataset=dict(type="ibnseg.MapillaryVistas"),
    data_root="mapillary",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="image",  # no images are known to be alike
)
