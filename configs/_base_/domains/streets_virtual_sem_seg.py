_base_ = "bdd100k.py"
domain = dict(
    name="streets_virtual_sem_seg",
    title="Virtual streets, as BDD100K",
    data_root="streets_virtual_sem_seg",
)
