_base_ = "bdd100k_drivable.py"
domain = dict(
    name="streets_real_drivable",
    title="Real streets, drivable",
    data_root="streets_real_drivable",
)
