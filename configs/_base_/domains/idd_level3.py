_base_ = "idd.py"
domain = dict(
    name="idd_level3",
    title="IDD, level 3",
    dataset=dict(type="ibnseg.IDDLevel3"),
    eval_classes=None,  # all 26
)
