_base_ = "streets_real.py"
domain = dict(
    name="streets_virtual",
    title="Virtual streets",
    dataset=dict(type="ibnseg.GTA5"),  # they lie on disk as it does
    data_root="streets_virtual",
)
