domain = dict(
    name="kitti",
    title="KITTI",
    dataset=dict(type="ibnseg.KITTI"),
    data_root="kitti",
    train_split="train",  # of MSeg; "all" has all 200 images, also those of val
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all 19
    group="image",  # the drives of the frames are not published with them
)
