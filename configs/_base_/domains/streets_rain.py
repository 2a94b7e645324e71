_base_ = "streets_real.py"
domain = dict(name="streets_rain", title="Rain streets", data_root="streets_rain")
