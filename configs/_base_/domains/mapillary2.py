domain = dict(
    name="mapillary2",
    title="Mapillary Vistas 2.0",
    dataset=dict(type="ibnseg.MapillaryVistas2"),
    data_root="mapillary",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all that its labels have: 19
    group="image",  # no images are known to be alike
)
