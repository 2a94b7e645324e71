# How the models that BDD100K's authors publish for the drivable area are trained, which later work
# compares with: [models] read in SysCV/bdd100k-models, drivable/README.md and drivable/configs
# (deeplabv3_r50-d8_512x1024_80k_drivable_bdd100k.py and its bases); [ours] our choice, if we
# differ or they say nothing. We know no schedule of the entrants of WAD 2018.
# crops as [models] has them; there one_class_at_most = 0.75, here any share [ours];
# smaller images are padded on the right and below, with the mean [models]
crop_size = (512, 1024)
train_resize = None  # from the stored 1280x720 [models]
scale = (0.5, 2.0)  # [models]
scale_sampling = "uniform"  # [models]
aspect = (1.0, 1.0)  # unchanged [models]
interpolation = "bilinear"  # [models]
# random mirror, half of the images [models]
# brightness, contrast, saturation, hue [models]
augment = [dict(type="mmseg.PhotoMetricDistortion")]
# class_balance = 0.5  # would weight pixels by the inverse square root of their class's share; off
# as in [models], so that numbers can be compared

optimizer = dict(
    type="SGD",  # [models]
    lr=0.01,  # [models]
    momentum=0.9,  # [models]
    weight_decay=5e-4,  # [models]
)
poly_power = 0.9  # [models]; down to 0 [ours], there to 1e-4
batch = 16  # 8 GPUs x 2 [models]
epochs = None
iterations = 80000  # [models]; 18 epochs
sync_bn = "torch"  # [models]
precision = "float32"  # [models]
checkpoint_interval = 8000  # [models]
# backbone, ImageNet weights and no auxiliary head [ours]; there ResNetV1c, and one with weight 0.4
# the loss is the mean over labelled pixels [ours]; there over all, of which padding is ignored
