_base_ = "bdd100k.py"
domain = dict(
    name="streets_real_sem_seg_2018",
    title="Real streets, as BDD100K of 2018",
    data_root="streets_real_sem_seg_2018",
)
