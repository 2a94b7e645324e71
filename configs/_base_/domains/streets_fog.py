_base_ = "streets_real.py"
domain = dict(name="streets_fog", title="Fog streets", data_root="streets_fog")
