_base_ = "bdd100k.py"
domain = dict(
    name="streets_virtual_sem_seg_2018",
    title="Virtual streets, as BDD100K of 2018",
    data_root="streets_virtual_sem_seg_2018",
)
