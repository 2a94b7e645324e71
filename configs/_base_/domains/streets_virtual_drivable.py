_base_ = "bdd100k_drivable.py"
domain = dict(
    name="streets_virtual_drivable",
    title="Virtual streets, drivable",
    data_root="streets_virtual_drivable",
)
