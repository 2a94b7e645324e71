_base_ = "streets_real.py"
domain = dict(
    name="streets_virtual",
    title="Virtual streets",
    dataset=dict(type="ibnseg.GTA5"),  # the streets are stored in its layout
    data_root="streets_virtual",
)
