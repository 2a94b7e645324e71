_base_ = "bdd100k.py"
domain = dict(
    name="streets_real_sem_seg",
    title="Real streets, as BDD100K",
    data_root="streets_real_sem_seg",
)
