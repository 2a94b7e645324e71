_base_ = "bdd100k_drivable.py"
domain = dict(
    name="streets_real_drivable_2018",
    title="Real streets, drivable of 2018",
    data_root="streets_real_drivable_2018",
)
