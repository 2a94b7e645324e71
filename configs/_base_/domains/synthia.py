domain = dict(
    name="synthia",
    title="SYNTHIA",
    dataset=dict(type="ibnseg.Synthia"),
    data_root="synthia",
    train_split="train",  # of RobustNet; "all" has all 9400 images, also those of val
    test_split="val",
    train_resize=None,
    eval_classes=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "sky",
        "person",
        "rider",
        "car",
        "bus",
        "motorcycle",
        "bicycle",
    ),  # 16: terrain, truck and train do not occur
    group="image",  # each is of a random viewpoint
)
