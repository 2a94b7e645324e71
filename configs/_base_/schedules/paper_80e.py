# How the paper trains (Pan et al., ECCV 2018), with the source of each item:
# [paper] its text; [author] XingangPan/IBN-Net issues 14 and 26; [memory] remembered, not verified;
# [ours] our choice where nothing is known.
# the size was never stated [ours]; smaller images are padded with the mean, labels with 255
crop_size = (713, 713)
scale = (0.5, 2.0)  # random scale [paper]; range and log-uniform [ours]
aspect = (3 / 4, 4 / 3)  # random aspect ratio [paper]; range and log-uniform [ours]
# random mirror [paper]

optimizer = dict(
    type="SGD",  # [paper]
    lr=0.01,  # [paper]
    momentum=0.9,  # [memory]
    weight_decay=1e-4,  # [memory]
)
poly_power = 0.9  # lr * (1 - i / N) ** 0.9 [paper]
batch = 16  # in all, however many processes share it [memory]
epochs = 80  # N = epochs x ceil(images / batch) [memory]
sync_bn = "torch"  # statistics over the whole batch if there are several GPUs [ours]
