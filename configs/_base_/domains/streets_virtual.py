domain = dict(
    name="streets_virtual",
    title="Virtual streets",
    dataset=dict(type="ibnseg.GTA5"),  # they lie on disk as it does
    data_root="streets_virtual",
    train_split="train",
    test_split="val",
    train_resize=None,
    eval_classes=None,  # all 19
    group="generated",
)
