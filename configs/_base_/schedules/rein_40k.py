# How w1oves/Rein trains on GTA5, which SoMA, VFMNet and others have taken over. [Rein]: read in its
# configs/dinov2/rein_dinov2_mask2former_512x512_bs1x4.py; [ours]: our choice, if we differ or it
# says nothing.
crop_size = (512, 512)  # [Rein]
one_class_at_most = 0.75  # of a crop's labelled pixels, or it is drawn again [Rein]
# the shorter edge becomes 256 to 1024, and GTA5's longer one never more than 2048, its limit [Rein]
train_resize = (932, 512)  # GTA5's 1914x1052 with 512 as the shorter edge [Rein]
scale = (0.5, 2.0)  # any in between [ours]; one of 16 steps of a tenth [Rein]
scale_sampling = "uniform"  # [Rein]
aspect = (1.0, 1.0)  # unchanged [Rein]
interpolation = "bilinear"  # [Rein]
# random mirror, half of the images [Rein]
augment = [dict(type="mmseg.PhotoMetricDistortion")]  # brightness, contrast, saturation, hue [Rein]
# the training split, because the validation split is tested [ours]; all 24 966 images [Rein]

optimizer = dict(
    type="AdamW",  # [Rein]
    lr=1e-4,  # [Rein]
    weight_decay=0.05,  # [Rein]
    betas=(0.9, 0.999),  # [Rein]
    eps=1e-8,  # [Rein]
)
# norms and tokens do not decay [Rein], biases and positions neither [ours]
optim_wrapper = dict(constructor="ibnseg.LayerRates")
poly_power = 0.9  # to 0, without warm-up [Rein]
batch = 4  # on one GPU [Rein]
iterations = 40000  # [Rein]
precision = "bfloat16"  # the forward pass [ours]; float32 [Rein]
checkpoint_interval = 4000  # [Rein]
# the last iterate is tested [Rein]
