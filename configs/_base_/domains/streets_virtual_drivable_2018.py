_base_ = "bdd100k_drivable.py"
domain = dict(
    name="streets_virtual_drivable_2018",
    title="Virtual streets, drivable of 2018",
    data_root="streets_virtual_drivable_2018",
)
