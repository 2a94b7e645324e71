_base_ = "streets_real.py"
domain = dict(name="streets_night", title="Night streets", data_root="streets_night")
