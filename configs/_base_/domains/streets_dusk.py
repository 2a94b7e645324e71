_base_ = "streets_real.py"
domain = dict(name="streets_dusk", title="Dusk streets", data_root="streets_dusk")
